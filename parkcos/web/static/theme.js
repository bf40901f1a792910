// Light or dark, before anything is painted. A plain script in the head, not a module: a module would run too late.

(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const kept = () => {
    try { return localStorage.getItem("parkcos-theme") || "system"; } catch { return "system"; }
  };
  let choice = kept();
  const show = () => {
    root.dataset.theme = choice === "system" ? (system.matches ? "dark" : "light") : choice;
    root.dispatchEvent(new CustomEvent("themechange"));
  };
  system.addEventListener("change", show);
  window.parkcosTheme = {
    get choice() { return choice; },
    get shown() { return root.dataset.theme; },
    choose(theme) {
      choice = theme;
      try { localStorage.setItem("parkcos-theme", theme); } catch { /* private browsing: until the page is closed */ }
      show();
    },
  };
  show();
  // The page's own script may be refused, where a server before this one sends another Host header on: then it cannot
  // say so itself.
  addEventListener("error", ({ target }) => {
    if (!(target instanceof HTMLScriptElement)) return;
    const say = () => {
      document.getElementById("main").textContent = [
        `The program refuses ${target.src} to a page of ${location.origin}, or does not answer.`,
        "A web server before it must pass the Host header on, and the program must be told that name",
        "(see its option for hosts).",
      ].join(" ");
    };
    if (document.readyState === "loading") addEventListener("DOMContentLoaded", say); else say();
  }, true);
})();

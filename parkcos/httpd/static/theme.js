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
})();

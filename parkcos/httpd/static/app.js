// The page as a whole: the connection, the header, and which page is shown.

import { get, post } from "./api.js";
import { announce, h, icon, setText, toast } from "./dom.js";
import { clock, count, duration, moment } from "./format.js";
import { ClusterPage } from "./page_cluster.js";
import { NodePage } from "./page_node.js";
import { ServerPage } from "./page_server.js";
import { TaskPage } from "./page_task.js";
import { TasksPage } from "./page_tasks.js";
import { settings } from "./settings.js";
import { Store } from "./store.js";
import { Stream } from "./stream.js";

const store = new Store();
const main = document.getElementById("main");
const banners = document.getElementById("banners");
const linkState = document.getElementById("link-state");
let page = null;
let route = null;
let frame = 0;

// -- which page

/** A page that says that what the address names is not known (any more). */
class MissingPage {
  constructor(what) {
    this.title = "Not found";
    this.heading = h("h1", { tabindex: "-1" }, "Not found");
    this.element = h("div", { class: "page narrow" }, h("div", { class: "title" }, this.heading), h("p", {}, what),
      h("p", {}, h("a", { href: "#/" }, "To the cluster")));
  }
  update() {}
  tick() {}
  end() {}
}

/** Why nothing can be done now; empty if it can. */
function offline() {
  if (store.closed) return "The client is closed.";
  return stream.link.kind === "live" ? "" : "There is no connection to the program.";
}

function make(path, query) {
  const [, place, id] = path.split("/").map(decodeURIComponent);
  if (!place) return new ClusterPage(store);
  if (place === "tasks") {
    if (!id) return new TasksPage(store, query, offline);
    return /^\d+$/.test(id) ? new TaskPage(store, id, offline) : new MissingPage("There is no such task.");
  }
  if (place === "nodes") {
    return store.node(id) ? new NodePage(store, id, offline) : new MissingPage("This node is not known (any more).");
  }
  if (place === "servers") {
    if (!store.server(id)) return new MissingPage("This server is not known (any more).");
    return new ServerPage(store, id, offline);
  }
  return new MissingPage("There is no such page.");
}

function show(moved) {
  const [path, query] = (location.hash.slice(1) || "/").split("?");
  page?.end();
  try {
    page = make(path, new URLSearchParams(query));
  } catch (error) {
    if (!(error instanceof URIError)) throw error;
    page = new MissingPage("There is no such page.");
  }
  route = { path, epoch: store.epoch, kind: store.kind };
  main.replaceChildren(page.element);
  page.update();
  document.title = `${page.title} · ${store.name || "parkcos"}`;
  if (moved) {
    window.scrollTo(0, 0);
    page.heading?.focus({ preventScroll: true });
  }
  showHeader();
}

// -- the header

const nav = {
  cluster: h("a", { href: "#/" }, "Cluster"),
  nodes: h("a", { class: "place", hidden: true }, "Node"),
  servers: h("a", { class: "place", hidden: true }, "Server"),
  tasks: h("a", { href: "#/tasks" }, "Tasks ", h("span", { class: "count" })),
  failed: h("a", { href: "#/tasks?state=failed", class: "failed-link", hidden: true }, icon("failed"), h("span")),
};
document.getElementById("nav").append(nav.cluster, nav.nodes, nav.servers, nav.tasks, nav.failed);

// The last of each, to which the menu leads back; the first if there was none.
const visited = { nodes: "", servers: "" };

const theme = document.getElementById("theme");
function showTheme() {
  const dark = window.parkcosTheme.shown === "dark";
  theme.replaceChildren(icon(dark ? "sun" : "moon"));
  theme.setAttribute("aria-label", dark ? "Change to light colours" : "Change to dark colours");
  theme.title = theme.getAttribute("aria-label");
}
theme.addEventListener("click",
  () => window.parkcosTheme.choose(window.parkcosTheme.shown === "dark" ? "light" : "dark"));
document.documentElement.addEventListener("themechange", showTheme);
showTheme();

const gear = document.getElementById("settings");
gear.append(icon("settings"));
gear.title = "Settings";
gear.setAttribute("aria-label", "Settings");
gear.addEventListener("click", () => store.ready && settings(store));

const leave = h("button", { type: "button", class: "quiet icon", title: "Log out", "aria-label": "Log out",
  on: { click: logOut } }, icon("leave"));
gear.after(leave);

async function logOut() {
  try {
    await post("logout", {});
  } catch (error) {
    if (error.status !== 401) { toast(error.message, "error"); return; } // it has ended already
  }
  location.assign("login");
}

function showHeader() {
  setText(document.getElementById("program"), store.name);
  setText(nav.tasks.lastChild, store.ready ? count(store.tasks.size) : "");
  nav.tasks.hidden = store.kind === "scheduler";
  const { failed } = store.totals;
  nav.failed.hidden = !failed;
  setText(nav.failed.lastChild, `${count(failed)} failed`);
  const [, place = "", id = ""] = route?.path.split("/") ?? [];
  if (place in visited && page.id) visited[place] = page.id;
  for (const kind of Object.keys(visited)) {
    const known = store[kind].has(visited[kind]) ? visited[kind] : store[kind].keys().next().value;
    nav[kind].hidden = known === undefined;
    nav[kind].href = `#/${kind}/${known}`;
  }
  const current = place === "tasks" || place in visited ? place : "cluster";
  const within = place && !(place in visited) && route.path !== "/tasks";
  for (const [kind, link] of Object.entries(nav)) {
    if (kind === current) link.setAttribute("aria-current", within ? "true" : "page");
    else link.removeAttribute("aria-current");
  }
}

// -- the connection, in words

function linkWords() {
  const { kind, since } = stream.link;
  if (store.closed) return ["over", "client closed"]; // whether its program is there or not
  if (kind === "connecting") return ["wait", "connecting"];
  if (kind !== "live") return ["broken", kind === "reconnecting" ? "reconnecting" : "no connection"];
  if (store.state === "new") return ["wait", "starting"];
  if (store.state === "waiting") return ["wait", "waiting"];
  const age = store.now - store.time;
  return ["live", age > 1.5 * store.settings.poll_s + 3 ? `live, ${duration(Math.round(age))} old` : "live", since];
}

function bannerWords() {
  const { kind, since } = stream.link;
  const old = store.ready ? ` What is shown is its state of ${moment(store.time, store.now)}.` : "";
  const why = store.reason ? `: ${store.reason}` : "";
  const closed = `The client was closed${why}. This is its last state, of ${moment(store.end, store.now)}.`;
  const from = `since ${clock(since)}`;
  if (store.closed && kind !== "live" && kind !== "connecting") {
    const shown = "what is shown stays while this page is open";
    return ["over", `${closed} Its program does not answer any more (${from}); ${shown}.`];
  }
  if (kind === "stranger") {
    const perhaps = "it was started again, or this login has ended";
    return ["broken", `The program wants its token again: ${perhaps}.${old}`, "login"];
  }
  const who = store.kind === "scheduler" ? "The scheduler" : "The program";
  if (kind === "gone") {
    const perhaps = "it has ended, or the network is away";
    return ["broken", `${who} does not answer ${from}: ${perhaps}.${old} This page goes on trying.`, "retry"];
  }
  if (kind === "reconnecting") {
    return ["wait", `No connection to ${who.toLowerCase()} ${from}. Trying again.${old}`, "retry"];
  }
  if (kind === "connecting") return null;
  if (store.closed) return ["over", closed];
  if (store.state === "waiting") {
    const place = store.reason ? ` ${store.reason}` : "";
    return ["wait", `The client waits for its turn at the shared scheduler.${place}`];
  }
  if (store.state === "running" && store.reason) return ["wait", `${store.name}: ${store.reason}.`];
  return null;
}

function showLink() {
  const [tone, words] = linkWords();
  if (linkState.textContent !== words || !linkState.classList.contains(tone)) {
    linkState.className = `link-state ${tone}`;
    linkState.replaceChildren(h("span", { class: "dot", "aria-hidden": "true" }), h("span", {}, words));
  }
  linkState.title = store.ready ? `Updated at ${clock(store.time)}, every ${duration(store.settings.poll_s)}` : "";
  const banner = bannerWords();
  const key = banner ? banner.join("\n") : "";
  if (banners.key === key) return;
  banners.key = key;
  if (!banner) { banners.replaceChildren(); return; }
  const [look, text, button] = banner;
  banners.replaceChildren(h("div", { class: `banner ${look}` }, h("span", {}, text),
    button === "retry"
      ? h("button", { type: "button", class: "small", on: { click: () => stream.connect() } }, "Try now") : null,
    button === "login" ? h("a", { class: "button small", href: "login" }, "Log in") : null));
}

const SPOKEN = {
  live: "Connected.",
  reconnecting: "The connection to the program is lost. Trying again.",
  gone: "The program does not answer.",
  stranger: "The program wants its token again.",
};

// -- what comes in

/** Shows what has changed, at most once each frame, and not while nobody sees it. */
function changed() {
  if (frame) return;
  frame = requestAnimationFrame(() => {
    frame = 0;
    const known = route && route.epoch === store.epoch && route.kind === store.kind && !(page instanceof MissingPage);
    if (known) page.update(); else show(false);
    showHeader();
    showLink();
  });
}

// -- what may be done here

let learning = false;

/** Asks, until it is known, whether who looks here may act: the page has the buttons for that, or has not. */
async function learn() {
  if (learning) return;
  learning = true;
  try {
    const { may_act: mayAct } = await get("session");
    if (mayAct === store.mayAct) return;
    store.mayAct = mayAct;
    if (store.ready) { route = null; changed(); }
  } catch {
    learning = false; // with what comes next
  }
}

let wasClosed = false;

const stream = new Stream({
  probe: "api/tasks?limit=0",
  onState(full) {
    const again = store.replace(full);
    stream.pollS = store.settings.poll_s;
    if (again) toast("The program was started anew: this is its new run.");
    heard();
  },
  onChanges(changes) {
    store.apply(changes);
    stream.pollS = store.settings.poll_s;
    heard();
  },
  onLink({ kind }) {
    store.live = kind === "live";
    if (SPOKEN[kind]) announce(SPOKEN[kind]);
    if (kind === "stranger") learning = false; // it may be another one who logs in
    showLink();
    if (store.ready) page?.tick();
  },
});

function heard() {
  if (store.closed && !wasClosed) announce("The client was closed. Its last state is shown.");
  wasClosed = store.closed;
  learn();
  changed();
}

window.addEventListener("hashchange", () => store.ready && show(true));
setInterval(() => {
  if (document.hidden) return;
  showLink();
  if (store.ready && stream.link.kind === "live") page?.tick();
}, 1000);
main.append(h("p", { class: "empty loading" }, "Waiting for the program…"));
showLink();
showHeader();
learn();

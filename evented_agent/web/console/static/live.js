// Asks from time to time for the part of the page that changes. The server answers 204 where it is
// the same, so a page at rest is left alone; nothing is replaced under somebody's hands.
import { stays } from "./picks.js";

const SLOW = 10000;

function isInUse(live) {
  if (document.querySelector("dialog[open]")) return true;
  const field = document.activeElement;
  if (live.contains(field) && field.matches("input:not([type=checkbox]), textarea, select")) return true;
  return [...live.querySelectorAll("textarea, input:not([type=checkbox]):not([type=hidden])")]
    .some((each) => each.value !== each.defaultValue);
}

function isSelecting(live) {
  const selection = getSelection();
  return selection !== null && !selection.isCollapsed && live.contains(selection.anchorNode);
}

function opened(live) {
  return [...live.querySelectorAll("details")].map((each) => each.open);
}

let asked = 0;

// What is shown is gone, or will be once the answer to a deletion is there: nothing is asked of it.
export function isGone() {
  return document.getElementById("live")?.dataset.gone !== undefined;
}

export function refresh() {
  const live = document.getElementById("live");
  if (!live || isGone() || document.hidden || isInUse(live) || isSelecting(live)) return Promise.resolve();
  asked = Date.now();
  return htmx.ajax("GET", location.pathname + location.search, { source: live, target: live, swap: "innerHTML" });
}

function keep(live) {
  let before = [];
  live.addEventListener("htmx:configRequest", (event) => {
    if (event.detail.target === live && live.dataset.digest) event.detail.headers["X-Have"] = live.dataset.digest;
  });
  live.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target !== live) return;
    before = opened(live);
    // What is the same has none: it stays the one that is shown.
    if (event.detail.xhr.status !== 204) live.dataset.digest = event.detail.xhr.getResponseHeader("X-Digest") ?? "";
  });
  live.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target !== live) return;
    if (live.querySelector("[data-gone]")) end(live);
    const all = live.querySelectorAll("details");
    if (all.length === before.length) all.forEach((each, at) => { each.open = before[at]; });
    stays(live);
    showStatus(live);
  });
}

function end(live) {
  live.dataset.gone = "";
  for (const each of document.querySelectorAll(".actions form, .title, .say")) each.hidden = true;
}

// A page does not ask for what it has just asked to be deleted.
function leaves(live) {
  const isLast = (event) => /\/(delete|forget)$/.test(event.detail.requestConfig.path.split("?")[0]);
  document.body.addEventListener("htmx:beforeRequest", (event) => { if (isLast(event)) live.dataset.gone = ""; });
  for (const name of ["htmx:responseError", "htmx:sendError"]) {
    document.body.addEventListener(name, (event) => { if (isLast(event)) delete live.dataset.gone; });
  }
}

// What can be done to a run changes with its status; the header is not in the part that changes.
function showStatus(live) {
  const status = live.querySelector(".facts[data-status]")?.dataset.status;
  if (!status) return;
  for (const each of document.querySelectorAll("[data-when]")) {
    each.hidden = !each.dataset.when.split(" ").includes(status);
  }
  live.dataset.live = live.querySelector(".facts").dataset.every;
}

export function startLiving() {
  const live = document.getElementById("live");
  setInterval(() => { if (!document.hidden) document.body.dispatchEvent(new Event("slow")); }, SLOW);
  if (!live) return;
  keep(live);
  leaves(live);
  const again = () => {
    const seconds = Number(live.dataset.live);
    setTimeout(async () => {
      if (seconds) await refresh();
      again();
    }, 1000 * (seconds || 2));
  };
  again();
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  document.body.addEventListener("said", (event) => {
    const sent = event.target.closest?.("[data-ask]");
    if (sent) sent.remove();
    document.body.dispatchEvent(new Event("slow"));
    refresh();
  });
  // Where it takes the server long to draw, the next look is soon enough.
  document.addEventListener("run:changed", () => {
    if (Date.now() - asked >= 500 * Number(live.dataset.live || 0)) refresh();
  });
}

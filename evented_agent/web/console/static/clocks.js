// Times as the reader has them: how long ago, how long it goes on, how long is left.
const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

function span(seconds) {
  for (const [unit, size] of UNITS) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return "0 s";
}

function said(at, style) {
  const seconds = (Date.now() - at.getTime()) / 1000;
  if (style === "clock") return at.toLocaleTimeString();
  if (style === "minute") return at.toLocaleTimeString([], { hour: "numeric", minute: "2-digit" });
  if (style === "since") return span(Math.max(0, seconds));
  if (style === "left") return seconds >= 0 ? "now" : `in ${span(-seconds)}`;
  return seconds < 5 ? "just now" : `${span(seconds)} ago`;
}

export function showTimes(root = document) {
  for (const each of root.querySelectorAll("time[data-time]")) {
    const at = new Date(each.dateTime);
    const text = said(at, each.dataset.time);
    if (each.textContent !== text) each.textContent = text;
    each.title = at.toLocaleString();
  }
}

export function startClocks() {
  showTimes();
  setInterval(showTimes, 1000);
  document.body.addEventListener("htmx:afterSwap", () => showTimes());
}

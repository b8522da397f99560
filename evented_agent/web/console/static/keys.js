// The keyboard: / searches, j and k walk through rows, g and a letter goes to a page.
let hasGo = false;

const isTyping = (at) => at.closest?.("input:not([type=checkbox]):not([type=radio]), textarea, select") !== null;

function walk(by) {
  const rows = [...document.querySelectorAll("[data-row] a.row")];
  if (!rows.length) return;
  const at = rows.findIndex((each) => each === document.activeElement);
  const next = at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by));
  rows[next].focus();
  rows[next].closest("[data-row]").scrollIntoView({ block: "nearest" });
}

const DO = {
  "/": () => document.querySelector("[data-search]")?.focus(),
  "?": () => document.getElementById("help").showModal(),
  j: () => walk(1),
  k: () => walk(-1),
  x: () => document.activeElement.closest("[data-row]")?.querySelector("input[name=run_id]")?.click(),
  g: () => {
    hasGo = true;
    setTimeout(() => { hasGo = false; }, 1500);
  },
};

export function startKeys() {
  document.addEventListener("keydown", (event) => {
    const at = event.target;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && at.matches?.("[data-send]")) {
      at.form.requestSubmit();
      return;
    }
    if (isTyping(at) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]")) return;
    const page = hasGo && document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
    if (page) {
      event.preventDefault();
      page.click();
    } else if (Object.hasOwn(DO, event.key)) {
      event.preventDefault();
      DO[event.key]();
    }
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-help]")) DO["?"]();
  });
}

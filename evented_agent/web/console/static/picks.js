// Runs that are chosen, to do the same to all of them; they stay chosen while the list changes.
const chosen = new Set();

const boxes = () => [...document.querySelectorAll("input[name=run_id]")];

function show() {
  const bar = document.getElementById("bulk");
  if (!bar) return;
  bar.hidden = chosen.size === 0;
  bar.querySelector("[data-picked]").textContent = chosen.size;
  const all = document.querySelector("[data-pick-all]");
  if (all) {
    const there = boxes();
    all.checked = there.length > 0 && there.every((each) => each.checked);
    all.indeterminate = !all.checked && there.some((each) => each.checked);
  }
}

export function stays(live) {
  const there = new Set();
  for (const each of live.querySelectorAll("input[name=run_id]")) {
    each.checked = chosen.has(each.value);
    there.add(each.value);
  }
  // What is not shown cannot be meant.
  for (const each of chosen) if (!there.has(each)) chosen.delete(each);
  show();
}

export function startPicking() {
  document.addEventListener("change", (event) => {
    const box = event.target;
    if (box.matches("[data-pick-all]")) {
      for (const each of boxes()) {
        each.checked = box.checked;
        box.checked ? chosen.add(each.value) : chosen.delete(each.value);
      }
    } else if (box.matches("input[name=run_id]")) {
      box.checked ? chosen.add(box.value) : chosen.delete(box.value);
    } else {
      return;
    }
    event.stopPropagation();
    show();
  });
  document.getElementById("bulk")?.addEventListener("said", () => {
    chosen.clear();
    for (const each of boxes()) each.checked = false;
    show();
  });
}

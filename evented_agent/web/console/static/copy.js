// Copies what a button holds.
import { toast } from "./toast.js";

// Pages that came over plain http have no clipboard of their own.
function copySelected(text) {
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "hidden";
  document.body.append(field);
  field.select();
  const isDone = document.execCommand("copy");
  field.remove();
  return isDone;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copySelected(text);
  }
}

export function startCopying() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    if (await copy(button.dataset.copy)) toast(button.dataset.said);
    else toast("The browser does not let this page copy.", true);
    button.focus();
  });
}

// Copies what a button holds.
import { toast } from "./toast.js";

export function startCopying() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      toast(button.dataset.said);
    } catch {
      toast("The browser does not let this page copy.", true);
    }
  });
}

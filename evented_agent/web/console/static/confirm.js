// What ends or removes something asks once before; and what came of a request is told.
import { toast } from "./toast.js";

function ask(question, isDangerous) {
  const dialog = document.getElementById("confirm");
  dialog.querySelector("p").textContent = question;
  dialog.querySelector("[value=yes]").classList.toggle("danger", isDangerous);
  dialog.returnValue = "no";
  dialog.showModal();
  dialog.querySelector("[value=no]").focus();
  return new Promise((answer) => {
    dialog.addEventListener("close", () => answer(dialog.returnValue === "yes"), { once: true });
  });
}

function pressed(event) {
  return event.detail.triggeringEvent?.submitter ?? event.detail.elt;
}

function refusal(text) {
  const page = new DOMParser().parseFromString(text, "text/html");
  return page.getElementById("failure")?.textContent ?? "That did not work.";
}

export function startConfirming() {
  const body = document.body;
  body.addEventListener("htmx:confirm", (event) => {
    const button = pressed(event);
    const question = button?.dataset?.confirm;
    if (!question) return;
    event.preventDefault();
    const picked = document.querySelectorAll("input[name=run_id]:checked").length;
    const runs = picked === 1 ? "this run" : `these ${picked} runs`;
    ask(question.replace("%n", runs), button.classList.contains("danger")).then((isSure) => {
      if (isSure) event.detail.issueRequest(true);
    });
  });
  // Fields that are empty are none: addresses stay short.
  body.addEventListener("htmx:configRequest", (event) => {
    if (event.detail.verb !== "get") return;
    for (const [name, value] of [...event.detail.formData]) {
      if (value === "") event.detail.formData.delete(name);
    }
  });
  body.addEventListener("said", (event) => toast(event.detail.value));
  body.addEventListener("htmx:responseError", (event) => {
    const isAsked = event.detail.requestConfig.verb !== "get";
    // What a page asks by itself fails quietly, unless nobody is signed in any more.
    if (isAsked || event.detail.xhr.status === 401) toast(refusal(event.detail.xhr.responseText), true);
  });
  let isLost = false;
  body.addEventListener("htmx:sendError", (event) => {
    if (event.detail.requestConfig.verb !== "get") toast("The server cannot be reached. Look again before you repeat it.", true);
    else if (!isLost) toast("The server cannot be reached. This page goes on by itself.", true);
    isLost = true;
  });
  body.addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful) isLost = false; });
}

// A run's conversation, as its log tells it: text as it is said, calls and what they came to, and
// what is withdrawn when a worker dies. It goes on by itself after whatever drop.
import { isGone, refresh } from "./live.js";
import { Talk } from "./turns.js";

const ENDS = ["finish", "error", "abort"];
const TYPES = [
  "start", "step-start", "step-finish", "finish", "abort", "run-waiting", "step-reset", "topic-reset",
  "text-start", "text-delta", "text-end", "reasoning-start", "reasoning-delta", "reasoning-end",
  "object", "source", "provider-item",
  "tool-call-input-streaming-start", "tool-call-delta", "tool-call-input-streaming-end", "tool-call",
  "tool-call-approval", "tool-call-suspended", "tool-call-decided", "tool-output-denied", "tool-output",
  "tool-result", "tool-error",
  "background-task-started", "background-task-running", "background-task-output",
  "background-task-completed", "background-task-failed", "background-task-cancelled",
  "background-task-suspended", "background-task-resumed", "background-task-progress",
  "message-queued", "message-applied", "message-dropped", "tool-call-deferred", "tool-call-dropped", "handoff",
];
//: Changes that other parts of the page show as well.
const TELLS = new Set([...ENDS, "tool-call", "tool-result", "tool-error", "tool-call-approval",
  "tool-call-suspended", "tool-call-decided", "step-reset", "step-finish", "run-waiting",
  "message-queued", "message-applied", "message-dropped", "handoff"]);

const isAtEnd = () => innerHeight + scrollY >= document.documentElement.scrollHeight - 120;

export async function follow(at, line) {
  const url = at.dataset.stream;
  const talk = new Talk(at);
  let last = "";
  let isOver = false;
  let timer = 0;

  const changed = () => {
    clearTimeout(timer);
    timer = setTimeout(() => document.dispatchEvent(new Event("run:changed")), 250);
  };

  const take = (event) => {
    const wasAtEnd = "stay" in at.dataset && isAtEnd();
    const chunk = JSON.parse(event.data);
    last = event.lastEventId;
    talk.feed(chunk);
    if (TELLS.has(chunk.type)) changed();
    if (wasAtEnd) scrollTo({ top: document.documentElement.scrollHeight });
    return chunk;
  };

  // Whoever asks for the log of a run that is gone is refused, and the browser says so: the page
  // asks first whether it is there.
  const again = () => setTimeout(async () => {
    await refresh();
    if (isGone()) line.textContent = "";
    else open();
  }, 3000);

  const open = async () => {
    // An EventSource gives up for good at any status but 200, so ask first.
    const asked = last ? `${url}?after=${encodeURIComponent(last)}` : url;
    let status = 0;
    try {
      status = (await fetch(asked, { method: "HEAD" })).status;
    } catch { /* the server is away: again later */ }
    if (status === 204) return;
    if (isGone()) return;
    if (status === 410) {
      line.textContent = "What was said here has expired.";
      return;
    }
    if (status !== 200) {
      line.textContent = "Reconnecting …";
      again();
      return;
    }
    const source = new EventSource(asked);
    const end = () => {
      isOver = true;
      source.close();
      line.textContent = "";
    };
    source.onopen = () => { line.textContent = ""; };
    for (const type of TYPES) {
      source.addEventListener(type, (event) => {
        take(event);
        if (ENDS.includes(type)) end();
      });
    }
    // "error" is also what an EventSource calls a lost connection, which it mends by itself.
    source.addEventListener("error", (event) => {
      if (event.data !== undefined) {
        take(event);
        return end();
      }
      source.close();
      if (isGone()) return;
      line.textContent = "Reconnecting …";
      again();
    });
  };

  await open();
  // A run that is retried goes on where it had ended.
  document.body.addEventListener("said", () => {
    if (!isOver || isGone()) return;
    isOver = false;
    setTimeout(open, 500);
  });
}

// Chunks as elements of a list: parts of text, calls, notices.
import { icon } from "./icons.js";
import { code, link, make, visible } from "./text.js";

const WAITS = {
  people: "Waits for a person",
  turn: "Waits for its turn in the thread",
  model: "Waits before the model is asked again",
  background: "The turn has ended; calls in the background go on",
};

export class Talk {
  constructor(at) {
    this.at = at;
    this.clear();
  }

  clear() {
    this.parts = new Map(); // part id -> { task, seq, item, text }
    this.calls = new Map(); // call id -> { task, seq, item, body, kind, raw }
    this.messages = new Map(); // message id -> { item, head, applied: { task, seq } | null, by }
    this.waiting = null;
    this.at.replaceChildren();
  }

  feed(chunk) {
    if (this.waiting && !chunk.type.startsWith("background")) {
      this.waiting.remove();
      this.waiting = null;
    }
    ON[chunk.type]?.call(this, chunk, chunk.payload);
  }

  part(chunk, isReasoning) {
    const item = make("li", "turn assistant");
    const text = make("p", "text");
    text.dir = "auto";
    if (isReasoning) {
      const details = make("details", "reasoning");
      details.append(make("summary", "", "Reasoning"), text);
      item.append(details);
    } else {
      item.append(make("h3", "", "Agent"), text);
    }
    this.at.append(item);
    const made = { task: chunk.task, seq: chunk.seq, item, text };
    this.parts.set(chunk.payload.id, made);
    return made;
  }

  add(chunk, isReasoning) {
    const { text } = this.parts.get(chunk.payload.id) ?? this.part(chunk, isReasoning);
    if (!text.firstChild) text.append("");
    text.firstChild.appendData(visible(chunk.payload.text));
  }

  call(chunk) {
    const { toolCallId, toolName } = chunk.payload;
    const known = this.calls.get(toolCallId);
    if (known) return known;
    const item = make("li", "turn tool");
    const box = make("div", "call");
    const header = make("header");
    const kind = make("span", "kind", "is written");
    header.append(icon("tool"), make("strong", "", toolName ?? toolCallId), kind);
    const body = make("div", "said");
    box.append(header, body);
    item.append(box);
    this.at.append(item);
    const made = { task: chunk.task, seq: chunk.seq, item, body, kind, raw: null, isWaiting: false };
    this.calls.set(toolCallId, made);
    return made;
  }

  state(chunk, said, className = "") {
    const found = this.call(chunk);
    found.kind.textContent = visible(said);
    found.item.className = `turn tool ${className}`;
    return found;
  }

  result(chunk, title, value) {
    const found = this.call(chunk);
    found.body.querySelector(".result")?.remove();
    const box = make("div", "result");
    box.append(make("h3", "", title), code(value ?? null));
    found.body.append(box);
  }

  notice(text, className = "") {
    const item = make("li", `notice ${className}`, text);
    this.at.append(item);
    return item;
  }

  // A message to the run, as whoever looks has it: what no model call has seen yet waits.
  message(id, said = null) {
    const known = this.messages.get(id);
    if (known) return known;
    const item = make("li", "turn user waiting");
    const head = make("h3", "", "");
    item.append(head);
    const words = said?.input?.map((each) => (typeof each.content === "string" ? each.content : JSON.stringify(each.content)));
    const text = make("p", "text", words ? words.join("\n\n") : "A long message: the steps have it.");
    text.dir = "auto";
    link(text);
    item.append(text);
    this.at.append(item);
    const made = { item, head, applied: null, by: said?.by ? `${said.by}, ` : "" };
    this.messages.set(id, made);
    this.stands(made, said?.interrupt ? "cuts in, waits for the next model call" : "waits for the next model call");
    return made;
  }

  stands(message, how, applied = null) {
    message.applied = applied;
    message.head.textContent = visible(`User: ${message.by}${how}`);
    message.item.classList.toggle("waiting", applied === null);
  }

  withdraw(chunk, said) {
    const isGone = (each) => each.task === chunk.task && each.seq >= said.fromSeq;
    const gone = [];
    for (const [id, part] of this.parts) {
      if (isGone(part)) {
        gone.push(part.text.textContent);
        part.item.remove();
        this.parts.delete(id);
      }
    }
    for (const [id, call] of this.calls) {
      // A call that the model has written stays; what its attempt has said goes.
      if (isGone(call)) {
        call.item.remove();
        this.calls.delete(id);
      } else if (chunk.task?.endsWith(`:tool:${id}`)) {
        call.body.querySelectorAll(".result, .news").forEach((each) => each.remove());
        call.kind.textContent = "runs again";
        call.item.className = "turn tool";
      }
    }
    for (const message of this.messages.values()) {
      if (message.applied && isGone(message.applied)) this.stands(message, "waits for the next model call");
    }
    this.at.querySelectorAll(".notice.end").forEach((each) => each.remove());
    const item = this.notice(`Attempt ${said.attempt} was withdrawn: ${said.reason}`, "reset");
    const words = gone.join("\n\n").trim();
    if (words) {
      const details = make("details");
      details.append(make("summary", "", "What it had said"), make("p", "text gone", words));
      item.append(details);
    }
  }
}

function asks(chunk, said) {
  const found = this.state(chunk, chunk.type === "tool-call-approval" ? "waits for an approval" : "asks", "people");
  if (said.suspendPayload !== undefined && said.suspendPayload !== null) {
    this.result(chunk, "Question", said.suspendPayload);
  }
  return found;
}

function inBackground(word, className = "") {
  return function (chunk) { this.state(chunk, word, className); };
}

const ON = {
  "topic-reset": function () { this.clear(); },
  "text-start": function (chunk) { this.part(chunk, false); },
  "text-delta": function (chunk) { this.add(chunk, false); },
  "text-end": function (chunk, said) {
    const part = this.parts.get(said.id);
    if (part) link(part.text);
  },
  "reasoning-start": function (chunk) { this.part(chunk, true); },
  "reasoning-delta": function (chunk) { this.add(chunk, true); },
  "tool-call-input-streaming-start": function (chunk) { this.call(chunk); },
  "tool-call-delta": function (chunk, said) {
    const found = this.call(chunk);
    if (!found.raw) {
      found.raw = make("pre", "code");
      found.raw.append("");
      found.body.append(found.raw);
    }
    found.raw.firstChild.appendData(visible(said.argsTextDelta));
  },
  "tool-call": function (chunk, said) {
    const found = this.state(chunk, "called");
    found.body.replaceChildren(code(said.args));
    found.raw = null;
  },
  "tool-call-approval": asks,
  "tool-call-suspended": asks,
  "tool-call-decided": function (chunk, said) {
    this.state(chunk, said.by ? `${said.decision} by ${said.by}` : said.decision);
    if (said.reason) this.result(chunk, "Reason", said.reason);
  },
  "tool-output-denied": function (chunk) { this.state(chunk, "declined", "bad"); },
  "tool-output": function (chunk, said) {
    const found = this.state(chunk, "runs");
    const news = found.body.querySelector(".news") ?? make("div", "news");
    news.replaceChildren(code(said.output));
    found.body.append(news);
  },
  "tool-result": function (chunk, said) {
    this.state(chunk, "returned");
    this.result(chunk, "Result", said.result);
  },
  "tool-error": function (chunk, said) {
    this.state(chunk, "failed", "bad");
    this.result(chunk, "Error", `${said.error.name}: ${said.error.message}`);
  },
  "background-task-started": inBackground("goes to the background"),
  "background-task-running": inBackground("runs in the background"),
  "background-task-resumed": inBackground("goes on in the background"),
  "background-task-output": function (chunk, said) { ON["tool-output"].call(this, chunk, said); },
  "background-task-suspended": asks,
  "background-task-completed": function (chunk, said) { ON["tool-result"].call(this, chunk, said); },
  "background-task-failed": function (chunk, said) { ON["tool-error"].call(this, chunk, said); },
  "background-task-cancelled": function (chunk, said) {
    this.state(chunk, "cancelled", "bad");
    if (said.reason) this.result(chunk, "Reason", said.reason);
  },
  "message-queued": function (chunk, said) { this.message(said.messageId, said); },
  "message-applied": function (chunk, said) {
    for (const id of said.messageIds) {
      const message = this.message(id);
      this.stands(message, `read in step ${said.step}`, chunk);
      // Where it is read is where it stands in the conversation.
      this.at.append(message.item);
    }
  },
  "message-dropped": function (chunk, said) {
    for (const id of said.messageIds) this.stands(this.message(id), `not read: ${said.reason}`);
  },
  "tool-call-deferred": function (chunk) { this.state(chunk, "waits for a person; the run goes on meanwhile", "people"); },
  "tool-call-dropped": function (chunk) { this.state(chunk, "dropped: the model was cut short", "bad"); },
  "handoff": function (chunk, said) { this.notice(`Handed on from ${said.fromAgent} to ${said.toAgent}`); },
  "source": function (chunk, said) {
    const item = this.notice(said.title ? `Source: ${said.title} ` : "Source: ");
    if (said.url) {
      const address = make("span", "", said.url);
      item.append(address);
      link(address);
    }
  },
  "provider-item": function (chunk, said) {
    const item = this.notice(said.kind);
    item.append(code(said.item, 0));
  },
  "run-waiting": function (chunk, said) {
    this.waiting = this.notice(WAITS[said.for] ?? `Waits for ${said.for}`, "waiting");
  },
  "step-reset": function (chunk, said) { this.withdraw(chunk, said); },
  "finish": function (chunk, said) { this.notice(`Finished: ${said.stepResult.reason}`, "end"); },
  "abort": function (chunk, said) { this.notice(said.reason ? `Aborted: ${said.reason}` : "Aborted", "end bad"); },
  "error": function (chunk, said) { this.notice(`Failed. ${said.error.name}: ${said.error.message}`, "end bad"); },
};

import { useChat } from "@ai-sdk/react";
import {
  DefaultChatTransport,
  lastAssistantMessageIsCompleteWithApprovalResponses,
  lastAssistantMessageIsCompleteWithToolCalls,
} from "ai";
import { useEffect, useRef, useState } from "react";
import { createRoot } from "react-dom/client";

const api = "/agents/ai/assistant";

// The chat is in the address, so that a reload, or another tab, is about the same one.
const id = location.hash.slice(1) || crypto.randomUUID();
history.replaceState(null, "", `#${id}`);
const kept = JSON.parse(localStorage.getItem(id) ?? "[]");

const transport = new DefaultChatTransport({
  api,
  // What the run's thread has already, the server does not need: an answer to a question is sent
  // with its message, all else is in the last one.
  prepareSendMessagesRequest: ({ body, id, messages, trigger, messageId }) => {
    const asked = messages.filter((each) => each.id === messageId && each.role === "assistant");
    const sent = asked.length ? asked : messages.slice(-1);
    return { body: { until_idle: true, ...body, id, messages: sent, trigger, messageId } };
  },
  // The answer may have ended while nobody was reading it.
  prepareReconnectToStreamRequest: ({ id }) => ({ api: `${api}/${id}/stream?ended=true` }),
});

function Page() {
  const chat = useChat({
    id,
    messages: kept,
    transport,
    resume: true,
    sendAutomaticallyWhen: (state) =>
      lastAssistantMessageIsCompleteWithApprovalResponses(state) ||
      lastAssistantMessageIsCompleteWithToolCalls(state),
    onError: (error) => {
      // The network, and nothing that the agent said: the run goes on meanwhile.
      if (error instanceof TypeError) setTimeout(() => chat.resumeStream(), 1000);
    },
    onFinish: ({ message, messages, isAbort, isError }) => {
      // A message that was sent before the page was opened again: its answer follows this one.
      const isUnanswered = messages.at(-1)?.role === "user" && !sending.current;
      if (!isUnanswered || isAbort || isError || read.current === message.id) return;
      read.current = message.id;
      setTimeout(() => chat.resumeStream());
    },
  });
  const sending = useRef(0);
  const read = useRef(null);
  const end = useRef(null);
  useEffect(() => {
    localStorage.setItem(id, JSON.stringify(chat.messages));
    end.current.scrollIntoView();
  }, [chat.messages]);
  const isBusy = chat.status === "submitted" || chat.status === "streaming";

  // Whatever the run is doing, it takes the message; its answer is read beside the one under way.
  const send = async (text, how = { when_busy: "steer" }) => {
    sending.current += 1;
    await chat.sendMessage({ text }, { body: how });
    sending.current -= 1;
  };
  // `chat.stop` would end the reading alone.
  const stop = () => fetch(`${api}/${id}/stop`, { method: "POST" });
  return (
    <>
      <section>
        {chat.messages.map((message) => (
          <article key={message.id} className={message.role}>
            {message.parts.map((part, at) => (
              <Part key={at} part={part} message={message} chat={chat} />
            ))}
          </article>
        ))}
        {chat.error && <p role="alert">{chat.error.message}</p>}
        <div ref={end} />
      </section>
      <footer>
        <Line name="message" label="Message" onText={send}
          onNow={isBusy && ((text) => send(text, { interrupt: true }))}>
          {isBusy && <button type="button" onClick={stop}>Stop</button>}
        </Line>
        <p><small id="status">{chat.status}</small></p>
      </footer>
    </>
  );
}

function Part({ part, message, chat }) {
  switch (part.type) {
    case "text":
      return <span>{part.text}</span>;
    case "reasoning":
      return <p className="reasoning">{part.text}</p>;
    case "dynamic-tool":
      return <Call call={part} message={message} chat={chat} />;
    case "data-suspended":
      return !isDecided(chat, part.id) && <Question question={part.data} message={message} chat={chat} />;
    default:
      return null;
  }
}

// The chat posts by itself what is decided in its last message; there may be a later one by now.
const post = (chat, message) => {
  if (message.id !== chat.messages.at(-1).id) chat.sendMessage(undefined, { messageId: message.id });
};

// Somebody else may have decided, which is told wherever the run was then.
const isDecided = (chat, question) =>
  chat.messages.some(({ parts }) =>
    parts.some((part) => part.type === "data-decided" && part.id === question));

function Call({ call, message, chat }) {
  const answer = async (approved) => {
    await chat.addToolApprovalResponse({ id: call.approval.id, approved });
    post(chat, message);
  };
  const isAsked = call.state === "approval-requested" && !isDecided(chat, call.approval.id);
  return (
    <div className="tool" data-state={call.state}>
      <code>{call.toolName}({JSON.stringify(call.input ?? {})})</code>
      {isAsked && (
        <form onSubmit={(event) => event.preventDefault()}>
          <button onClick={() => answer(true)}>Approve</button>
          <button onClick={() => answer(false)}>Decline</button>
        </form>
      )}
      {call.state === "output-available" && <div>{String(call.output)}</div>}
      {call.state === "output-error" && <div>{call.errorText}</div>}
      {call.state === "output-denied" && <div>declined</div>}
    </div>
  );
}

function Question({ question, message, chat }) {
  const { toolCallId, toolName, payload } = question;
  const call = message.parts.find((part) => part.toolCallId === toolCallId);
  if (call?.state !== "input-available") return null;
  const answer = async (output) => {
    await chat.addToolOutput({ tool: toolName, toolCallId, output });
    post(chat, message);
  };
  return (
    <div className="tool">
      <Line name="answer" label={payload.question} onText={answer} />
    </div>
  );
}

function Line({ name, label, onText, onNow, children }) {
  const [text, setText] = useState("");
  const say = (how) => (event) => {
    event.preventDefault();
    if (!text) return;
    how(text);
    setText("");
  };
  return (
    <form onSubmit={say((text) => onText(text))}>
      <input id={name} aria-label={label} placeholder={label} value={text}
        onChange={(event) => setText(event.target.value)} />
      <button>Send</button>
      {onNow && text && <button type="button" onClick={say(onNow)}>Send now</button>}
      {children}
    </form>
  );
}

createRoot(document.getElementById("page")).render(<Page />);

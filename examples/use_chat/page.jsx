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
  // What the run's thread has already, the server does not need.
  prepareSendMessagesRequest: ({ body, id, messages, trigger, messageId }) => ({
    body: { ...body, id, messages: messages.slice(-1), trigger, messageId },
  }),
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
  });
  const end = useRef(null);
  useEffect(() => {
    localStorage.setItem(id, JSON.stringify(chat.messages));
    end.current.scrollIntoView();
  }, [chat.messages]);
  const isBusy = chat.status === "submitted" || chat.status === "streaming";

  const send = (text) => chat.sendMessage({ text });
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
        <Line name="message" label="Message" disabled={isBusy} onText={send}>
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
      return <Call call={part} chat={chat} />;
    case "data-suspended":
      return <Question question={part.data} message={message} chat={chat} />;
    default:
      return null;
  }
}

function Call({ call, chat }) {
  const answer = (approved) => chat.addToolApprovalResponse({ id: call.approval.id, approved });
  return (
    <div className="tool" data-state={call.state}>
      <code>{call.toolName}({JSON.stringify(call.input ?? {})})</code>
      {call.state === "approval-requested" && (
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
  const answer = (output) => chat.addToolOutput({ tool: toolName, toolCallId, output });
  return (
    <div className="tool">
      <Line name="answer" label={payload.question} onText={answer} />
    </div>
  );
}

function Line({ name, label, disabled, onText, children }) {
  const [text, setText] = useState("");
  const submit = (event) => {
    event.preventDefault();
    if (!text) return;
    onText(text);
    setText("");
  };
  return (
    <form onSubmit={submit}>
      <input id={name} aria-label={label} placeholder={label} value={text}
        onChange={(event) => setText(event.target.value)} />
      <button disabled={disabled}>Send</button>
      {children}
    </form>
  );
}

createRoot(document.getElementById("page")).render(<Page />);

// A chat of the AI SDK without a page. Reads commands and tells each state, as JSON lines.
import { Chat } from "@ai-sdk/react";
import { WorkflowChatTransport } from "@ai-sdk/workflow/client";
import {
  DefaultChatTransport,
  lastAssistantMessageIsCompleteWithApprovalResponses,
  lastAssistantMessageIsCompleteWithToolCalls,
  readUIMessageStream,
} from "ai";
import { createInterface } from "node:readline";

const [kind, api, cookie, id] = process.argv.slice(2);
const headers = { cookie, origin: new URL(api).origin };
let posts = 0;
let gets = 0;

function counted(url, options) {
  options.method === "POST" ? posts++ : gets++;
  return fetch(url, options);
}

const workflow = {
  api,
  fetch: counted,
  prepareSendMessagesRequest: ({ id, messages, trigger, messageId, body }) => ({
    headers,
    body: { ...body, id, messages, trigger, messageId },
  }),
  prepareReconnectToStreamRequest: ({ api }) => ({ api, headers }),
};
const transport =
  kind === "workflow"
    ? new WorkflowChatTransport(workflow)
    : new DefaultChatTransport({
        api,
        headers,
        fetch: counted,
        prepareReconnectToStreamRequest: ({ id }) => ({
          api: `${api}/${encodeURIComponent(id)}/stream?ended=true`,
          headers,
        }),
      });

const chat = new Chat({
  id,
  transport,
  sendAutomaticallyWhen: (state) =>
    lastAssistantMessageIsCompleteWithApprovalResponses(state) ||
    lastAssistantMessageIsCompleteWithToolCalls(state),
});

function tell() {
  const { status, error, messages } = chat;
  console.log(JSON.stringify({ status, error: error?.message, messages, posts, gets }));
}

// The status is changed before the error.
const tellSoon = () => queueMicrotask(tell);
chat["~registerMessagesCallback"](tellSoon);
chat["~registerStatusCallback"](tellSoon);
chat["~registerErrorCallback"](tellSoon);

const commands = {
  send: ({ body, ...message }) => chat.sendMessage(message, { body }),
  // What the client does not post by itself: an answer in a message that is not the last one.
  post: ({ messageId }) => chat.sendMessage(undefined, { messageId }),
  regenerate: () => chat.regenerate(),
  resume: () => chat.resumeStream(),
  approve: (answer) => chat.addToolApprovalResponse(answer),
  output: (answer) => chat.addToolOutput(answer),
  // Without a chat: the transport, and what reads a stream of messages.
  read: async ({ text }) => {
    const message = { id: "one", role: "user", parts: [{ type: "text", text }] };
    const options = { chatId: id, messages: [message], trigger: "submit-message" };
    const stream = await transport.sendMessages(options);
    let last;
    for await (const each of readUIMessageStream({ stream, terminateOnError: true })) last = each;
    console.log(JSON.stringify({ read: last }));
  },
  tell,
};

// The client tells its own drops there; what is of interest comes as a state.
console.error = () => {};
tell();
for await (const line of createInterface({ input: process.stdin })) {
  const [[name, given]] = Object.entries(JSON.parse(line));
  // Not awaited: the next command may be about what this one has begun.
  Promise.resolve(commands[name](given)).catch((error) => {
    console.log(JSON.stringify({ status: "failed", error: error.message, messages: [] }));
  });
}

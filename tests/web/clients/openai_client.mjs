// What OpenAI's own client for JavaScript makes of a run: one situation per call, its outcome as
// JSON on a line.  The arguments: base URL, situation, its arguments as JSON.
import OpenAI from "openai";

const [baseURL, situation, given] = process.argv.slice(2);
const { model = "speaker", input = "Talk.", id, seed = 1 } = JSON.parse(given ?? "{}");
const client = new OpenAI({ baseURL, apiKey: "ann", maxRetries: 0, timeout: 60_000 });

let state = seed;
const chance = (most) => (state = (state * 48271) % 2147483647) % most;
const wanted = (response) => ({
  id: response.id,
  status: response.status,
  text: response.output_text,
  types: response.output.map((item) => item.type),
  error: response.error?.message ?? null,
});

const situations = {
  async wait() {
    return wanted(await client.responses.create({ model, input }));
  },

  // The helper sends no cursor: it reads from the first event, and leaves out what it has.
  async helper() {
    const begun = await client.responses.create({ model, input, background: true });
    process.stdout.write(JSON.stringify({ id: begun.id }) + "\n");
    const stream = client.responses.stream({ response_id: begun.id, starting_after: 5 });
    let first = null;
    for await (const event of stream) first ??= event.sequence_number;
    return { ...wanted(await stream.finalResponse()), first };
  },

  // The socket is dropped at random places, and the next one goes on behind the last event.
  async drops() {
    const begun = await client.responses.create({ model, input, background: true });
    process.stdout.write(JSON.stringify({ id: begun.id }) + "\n");
    const seen = [];
    let last = null;
    while (last === null) {
      const after = seen.length ? { starting_after: seen.length - 1 } : {};
      const stream = await client.responses.retrieve(begun.id, { stream: true, ...after });
      let left = 1 + chance(40);
      for await (const event of stream) {
        seen.push(event.sequence_number);
        if (event.type === "response.completed") last = event.response;
        if (--left === 0) break;
      }
      stream.controller.abort();
    }
    const inOrder = seen.every((number, at) => number === at);
    return { ...wanted(await client.responses.retrieve(begun.id)), inOrder, seen: seen.length };
  },

  async approve() {
    const first = await client.responses.create({ model, input });
    const asked = first.output.find((item) => item.type === "mcp_approval_request");
    const decision = { type: "mcp_approval_response", approval_request_id: asked.id, approve: true };
    const second = await client.responses.create({ previous_response_id: first.id, input: [decision] });
    const third = await client.responses.create({ model: "hello", input: "Thanks.", previous_response_id: second.id });
    return { ...wanted(second), first: wanted(first), third: wanted(third) };
  },

  async answer() {
    const first = await client.responses.create({ model, input });
    const asked = first.output.find((item) => item.type === "function_call");
    const answer = { type: "function_call_output", call_id: asked.call_id, output: '"yes"' };
    return wanted(await client.responses.create({ input: [answer] }));
  },

  async decline() {
    const first = await client.responses.create({ model, input });
    const asked = first.output.find((item) => item.type === "mcp_approval_request");
    const decision = { type: "mcp_approval_response", approval_request_id: asked.id, approve: false, reason: "no" };
    return wanted(await client.responses.create({ input: [decision] }));
  },

  async cancel() {
    const begun = await client.responses.create({ model, input, background: true });
    const cancelled = await client.responses.cancel(begun.id);
    // The client adds output_text to what is created or retrieved only.
    return { ...wanted(await client.responses.retrieve(begun.id)), told: cancelled.status };
  },

  async fetch() {
    return wanted(await client.responses.retrieve(id));
  },

  async complete() {
    const stream = await client.chat.completions.create({
      model,
      messages: [{ role: "user", content: input }],
      stream: true,
    });
    let text = "";
    try {
      for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
    } catch (error) {
      return { text, failure: String(error.message) };
    }
    return { text, failure: null };
  },

  async refused() {
    try {
      await client.responses.create({ model, input, temperature: 0.5 });
    } catch (error) {
      return { name: error.constructor.name, status: error.status, param: error.param };
    }
    return null;
  },
};

process.stdout.write(JSON.stringify(await situations[situation]()) + "\n");

// openai-node as it is installed. `node openai.mjs SCENARIO '{"given": …}'` prints a result as JSON.

import OpenAI from "openai";

const given = JSON.parse(process.argv[3] ?? "{}");
const client = new OpenAI({
  baseURL: `${process.env.TIDEGATE_URL}/v1`,
  apiKey: "tidegate-dev",
  maxRetries: given.maxRetries ?? 0,
  timeout: given.timeout ?? 30_000,
});
const asked = {
  model: given.model ?? "sim-small",
  messages: [{ role: "user", content: given.question ?? "When does the tide turn?" }],
  max_tokens: given.maxTokens ?? 12,
};
const tool = {
  type: "function",
  function: {
    name: "tide_at",
    parameters: { type: "object", properties: { harbour: { type: "string" } } },
  },
};

/** What is thrown, as a user would tell it apart. */
async function thrown(promise) {
  try {
    await promise;
  } catch (error) {
    const { status = null, code = null, param = null, requestID = null } = error;
    return { kind: error.constructor.name, status, code, param, requestID };
  }
  return null;
}

async function textOf(stream) {
  let text = "";
  for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
  return text;
}

const scenarios = {
  async answers() {
    const whole = await client.chat.completions.create(asked);
    const usage = [];
    let text = "";
    const stream = await client.chat.completions.create({
      ...asked,
      stream: true,
      stream_options: { include_usage: true },
    });
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? "";
      usage.push(chunk.usage);
    }
    return { whole, text, usage };
  },

  async tools() {
    const runner = client.chat.completions.runTools({
      ...asked,
      max_tokens: undefined,
      stream: true,
      tools: [{ type: "function", function: { ...tool.function, parse: JSON.parse,
        function: ({ harbour }) => `${harbour}: 3 m` } }],
    });
    const final = await runner.finalContent();
    return { final, roles: runner.messages.map((message) => message.role) };
  },

  async lists() {
    const models = [];
    for await (const model of client.models.list()) models.push(model.id);
    const embed = (encoding_format) =>
      client.embeddings.create({ model: "sim-embedding", input: "ebb", encoding_format });
    const [packed, floats] = [await embed(), await embed("float")];
    return { models, packed: packed.data[0].embedding, floats: floats.data[0].embedding };
  },

  async errors() {
    const create = (fields, options) =>
      thrown(client.chat.completions.create({ ...asked, ...fields }, options));
    const once = { headers: { "Idempotency-Key": "node-once" } };
    await client.chat.completions.create(asked, once);
    return {
      missing: await create({ model: "gpt-none" }),
      bad: await create({ n: 2 }),
      conflict: await create({ max_tokens: 13 }, once),
      // The client's own option for it, which sends no header.
      option: await create({ max_tokens: 13 }, { idempotencyKey: "node-once" }),
      key: await thrown(client.withOptions({ apiKey: "tg_wrong" }).models.list()),
      limited: await create({ model: "sim-limited-node" }),
      broken: await create({ model: "sim-broken-node" }),
      cut: await thrown(
        client.chat.completions.create({ ...asked, model: "sim-torn-node", stream: true }).then(textOf),
      ),
    };
  },

  async patience() {
    const whole = client.chat.completions.create(asked);
    const streamed = client.chat.completions
      .create({ ...asked, max_tokens: asked.max_tokens + 1, stream: true })
      .then(textOf);
    return { whole: (await whole).choices[0].message.content, streamed: await streamed };
  },

  async timeout() {
    return thrown(client.chat.completions.create(asked));
  },

  /** Goes away after the first text. */
  async abort() {
    const stream = await client.chat.completions.create({ ...asked, stream: true });
    for await (const chunk of stream) {
      if (!chunk.choices[0]?.delta?.content) continue;
      stream.controller.abort();
      return chunk.choices[0].delta.content;
    }
    return null;
  },
};

console.log(JSON.stringify(await scenarios[process.argv[2]]()));

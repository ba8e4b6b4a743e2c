// The Vercel AI SDK with its openai-compatible provider, as installed. Called like openai.mjs.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const given = JSON.parse(process.argv[3] ?? "{}");
const tidegate = createOpenAICompatible({
  name: "tidegate",
  baseURL: `${process.env.TIDEGATE_URL}/v1`,
  apiKey: "tidegate-dev",
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const asked = {
  model: tidegate(given.model ?? "sim-small"),
  prompt: given.question ?? "When does the tide turn?",
  maxOutputTokens: given.maxTokens ?? 12,
  maxRetries: given.maxRetries ?? 0,
};
const tideAt = tool({
  description: "The height of the tide in a harbour",
  inputSchema: z.object({ harbour: z.string() }),
  execute: async ({ harbour }) => `${harbour}: 3 m`,
});

/** What is thrown, or comes as an error in the stream, as a user would tell it apart. */
async function thrown(promise) {
  try {
    await promise;
  } catch (error) {
    return { name: error.name ?? null, status: error.statusCode ?? null, message: error.message };
  }
  return null;
}

async function streamed(fields) {
  const errors = [];
  const result = streamText({ ...asked, ...fields, onError: ({ error }) => errors.push(error) });
  let text = "";
  for await (const part of result.textStream) text += part;
  return { text, errors, result };
}

const scenarios = {
  async answers() {
    const whole = await generateText(asked);
    const { text, errors, result } = await streamed({});
    const usages = [whole.usage, await result.usage];
    return {
      texts: [whole.text, text],
      reasons: [whole.finishReason, await result.finishReason],
      tokens: usages.map(({ inputTokens, outputTokens }) => [inputTokens, outputTokens]),
      errors: errors.length,
    };
  },

  async tools() {
    const fields = {
      maxOutputTokens: undefined,
      tools: { tideAt },
      stopWhen: stepCountIs(3),
    };
    const whole = await generateText({ ...asked, ...fields });
    const { text, result } = await streamed(fields);
    const calls = (steps) => steps.map((step) => step.toolResults.map(({ output }) => output));
    return { texts: [whole.text, text], calls: [calls(whole.steps), calls(await result.steps)] };
  },

  async shapes() {
    const schema = z.object({ harbour: z.string(), hours: z.number().int() });
    const { output } = await generateText({
      ...asked,
      maxOutputTokens: undefined,
      output: Output.object({ schema }),
    });
    const { embeddings } = await embedMany({
      model: tidegate.embeddingModel("sim-embedding"),
      values: ["ebb", "flood"],
    });
    return { output, sizes: embeddings.map((each) => each.length) };
  },

  async errors() {
    const cut = await streamed({ model: tidegate("sim-torn-ai") });
    return {
      missing: await thrown(generateText({ ...asked, model: tidegate("gpt-none") })),
      limited: await thrown(generateText({ ...asked, model: tidegate("sim-limited-ai") })),
      broken: await thrown(generateText({ ...asked, model: tidegate("sim-broken-ai") })),
      cut: { text: cut.text, errors: cut.errors.length, reason: await cut.result.finishReason },
    };
  },

  /** Goes away after the first text. */
  async abort() {
    const leaving = new AbortController();
    const result = streamText({ ...asked, abortSignal: leaving.signal });
    for await (const part of result.textStream) {
      leaving.abort();
      return part;
    }
    return null;
  },
};

console.log(JSON.stringify(await scenarios[process.argv[2]]()));

// Creates and reads a generation with two generated clients: openapi-fetch on the types of openapi-typescript, and orval.
import createClient from "openapi-fetch";
import type { paths } from "./made/schema.js";
import { createVideoGeneration, readVideoGeneration } from "./made/orval.js";

declare const process: { env: Record<string, string | undefined> };
const url = process.env.GATEWAY_URL as string;
const headers = { authorization: `Bearer ${process.env.GATEWAY_KEY}` };
const body = { model: "kling_relay/kling-v1-6", prompt: "Waves on the beach", aspect_ratio: "16:9" };

function check(condition: boolean, what: string): void {
  if (!condition) throw new Error(what);
}

const client = createClient<paths>({ baseUrl: url, headers });
const created = await client.POST("/v1/videos/generations", { body });
if (!created.data) throw new Error(JSON.stringify(created.error));
for (let at = 0; at < 20; at++) {
  const read = await client.GET("/v1/videos/generations/{generation_id}", {
    params: { path: { generation_id: created.data.id }, query: { wait: 5 } },
  });
  if (read.data?.status === "completed") {
    check(typeof read.data.data[0]?.url === "string", "openapi-fetch: no url");
    console.log("openapi-fetch", read.data.status);
    break;
  }
}

const made = await createVideoGeneration(body, {
  headers: { ...headers, "content-type": "application/json" }, // orval names none where a body may also be a form
});
check(made.status === 200, `orval: ${made.status} ${JSON.stringify(made.data)}`);
if (made.status === 200) {
  const read = await readVideoGeneration(made.data.id, { wait: 1 }, { headers });
  check(read.status === 200, `orval: ${read.status}`);
  if (read.status === 200) console.log("orval", read.data.id === made.data.id ? "read" : "another id");
}

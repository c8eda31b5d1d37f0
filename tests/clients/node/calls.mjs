// Says for each call of a client script whether it worked, as lines of JSON on standard output.
import { readFileSync } from "node:fs";

export const { CLIENT_URL: URL, CLIENT_KEY: KEY, CLIENT_HOOK: HOOK, CLIENT_IMAGE: IMAGE } = process.env;
export const { CLIENT_JWT_ACCESS: JWT_ACCESS, CLIENT_JWT_SECRET: JWT_SECRET } = process.env;
export const PATIENCE = 20_000; // milliseconds for work of the sandbox, which takes less than one second

/** Run one call; it works if the function ends without an exception. */
export async function call(name, run) {
  let result = { call: name, ok: true, why: "" };
  try {
    await run();
  } catch (error) {
    result = { call: name, ok: false, why: why(error) };
  }
  console.log(JSON.stringify(result));
}

/** The message of an error without what differs from run to run. */
function why(error) {
  const cause = error?.cause ? ` (${error.cause.message ?? error.cause})` : "";
  return `${error?.name ?? "Error"}: ${error?.message ?? error}${cause}`
    .replaceAll(/\s+/g, " ")
    .replaceAll(/http:\/\/127\.0\.0\.1:\d+/g, "")
    .replaceAll(/req_\w+/g, "req_…")
    .replaceAll(/\b1\d{9}\b/g, "…") // Unix seconds
    .replaceAll(/\b(gen|video|xai|or|task|file|we)_[0-9A-Za-z]{16,}/g, "$1_…")
    .slice(0, 400);
}

export function check(condition, message = "the answer is not the expected one") {
  if (!condition) throw new Error(message);
}

/** The package raises an error of its own with one of these statuses. */
export async function refused(promise, ...statuses) {
  try {
    await promise;
  } catch (error) {
    const status = error.status ?? error.statusCode ?? error.cause?.statusCode;
    check(statuses.includes(status), `an error with the status ${status}: ${error.message}`);
    return;
  }
  throw new Error("no error");
}

/** Read again and again until the work has ended. */
export async function until(read, ended) {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const result = await read();
    if (ended(result)) return result;
    if (Date.now() > deadline) throw new Error(`not ended: ${JSON.stringify(result)}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

export const isVideo = (bytes) => Buffer.from(bytes).subarray(4, 8).toString() === "ftyp";
export const image = () => readFileSync(IMAGE);
export const webhooks = () =>
  readFileSync(process.env.CLIENT_HOOK_FILE, "utf8").split("\n").filter(Boolean).map((line) => JSON.parse(line));

export async function all(pages) {
  const items = [];
  for await (const item of await pages) items.push(item);
  return items;
}

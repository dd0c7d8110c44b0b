// A client of a Zhenglian node's REST API. The types of every route are generated from its OpenAPI document (api.ts,
// by "make clients"); requests go through openapi-fetch, which knows them:
//
//   const node = connect("http://127.0.0.1:8801", key);
//   const verdict = unwrap(await node.POST("/v1/verify", { body: { record: "bj-scjg.1" } }));
//
// A request is sent once. Whether to send it again is decided by Problem.written and the Idempotency-Key.

import createClient, { type Client, type ClientOptions } from "openapi-fetch";
import type { components, paths } from "./api.js";

export type { components, operations, paths } from "./api.js";
export type Schemas = components["schemas"];
export type Problem = Schemas["Problem"];
export type Node = Client<paths>;

/** connect makes a client of the node at an address such as "https://node.example", with an API key, or without one
 * for the open routes. */
export function connect(address: string, key?: string, options: Omit<ClientOptions, "baseUrl"> = {}): Node {
  const node = createClient<paths>({ redirect: "error", ...options, baseUrl: address }); // a key goes to no other place
  if (key !== undefined) {
    node.use({
      onRequest({ request }) {
        request.headers.set("Authorization", `Bearer ${key}`);
        return request;
      },
    });
  }
  return node;
}

/** ZhenglianError is an answer that is no success: the node's problem, with its stable code, English and Chinese text,
 * and what is known to have been written. What does not come from a node, such as a proxy's page, has no problem. */
export class ZhenglianError extends Error {
  readonly problem: Problem | undefined;
  readonly status: number;

  constructor(status: number, problem?: Problem) {
    super(problem ? `${problem.code}: ${problem.title} (${problem.zh})` : `status ${status}`);
    this.name = "ZhenglianError";
    this.status = status;
    this.problem = problem;
  }

  get code(): Problem["code"] | undefined {
    return this.problem?.code;
  }

  /** zh is the text for people who read Chinese. */
  get zh(): string {
    return this.problem?.zh ?? `状态 ${this.status}`;
  }

  /** written says whether the failed request may have written; unknown is "perhaps". */
  get written(): Problem["written"] {
    return this.problem?.written ?? "perhaps";
  }
}

/** unwrap returns an answer's value or throws a ZhenglianError. */
export function unwrap<T>(answer: { data?: T; error?: unknown; response: Response }): NonNullable<T> {
  if (answer.response.ok && answer.data !== undefined && answer.data !== null) {
    return answer.data;
  }
  throw new ZhenglianError(answer.response.status, isProblem(answer.error) ? answer.error : undefined);
}

function isProblem(v: unknown): v is Problem {
  return typeof v === "object" && v !== null && typeof (v as Problem).code === "string" && typeof (v as Problem).zh === "string";
}

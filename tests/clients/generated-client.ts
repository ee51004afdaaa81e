// A client whose types openapi-typescript generates from the OpenAPI document; generated.test.mjs compiles and runs it.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Key = components["schemas"]["ApiKey"];

/** Creates, lists, rotates and revokes a key; returns what the server said at each step. */
export async function liveOneLife(baseUrl: string, key: string, name: string) {
  const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${key}` } });
  const created = await client.POST("/v1/api-keys", { body: { name, scopes: ["inference:read"], expires_in_days: 30 } });
  if (!created.data) throw new Error(created.error.detail);
  const secret: string | null = created.data.key;
  const path = { id: created.data.id };

  const listed: Key[] = [];
  for (let cursor: string | undefined; ; ) {
    const page = await client.GET("/v1/api-keys", { params: { query: { limit: 1, cursor } } });
    if (!page.data) throw new Error(page.error.detail);
    listed.push(...page.data.data);
    cursor = page.data.next_cursor ?? undefined;
    if (!cursor) break;
  }
  const rotated = await client.POST("/v1/api-keys/{id}/rotate", { params: { path }, body: { overlap: "1h" } });
  const patched = await client.PATCH("/v1/api-keys/{id}", { params: { path }, body: { description: "From a generated client" } });
  const revoked = await client.POST("/v1/api-keys/{id}/revoke", { params: { path }, body: { reason: "done" } });
  const again = await client.POST("/v1/api-keys", { body: { name: "", scopes: ["inference:read"] } });
  return { secret, listed, rotated: rotated.data, patched: patched.data, revoked: revoked.data, refused: again.error };
}

/** What must not compile. */
export function mistakes() {
  const client = createClient<paths>();
  // @ts-expect-error There is no such scope.
  void client.POST("/v1/api-keys", { body: { name: "a", scopes: ["inference:delete"] } });
  // @ts-expect-error There is no such member.
  void client.POST("/v1/api-keys", { body: { nome: "a", scopes: ["admin"] } });
  // @ts-expect-error There is no such route.
  void client.GET("/v1/keys");
}

/** API reference on one page: every route by tag, with its parameters, generated from the request schemas. */
import { Layout } from "../../layout.tsx";

interface Field {
  name: string;
  where: "path" | "query" | "body";
  type: string;
  required: boolean;
}

export interface DocumentedRoute {
  method: string;
  path: string;
  summary: string;
  description: string | null;
  adminOnly: boolean;
  fields: Field[];
}

function Fields({ fields }: { fields: Field[] }) {
  return (
    <table class="table">
      <thead>
        <tr>
          <th scope="col">Parameter</th>
          <th scope="col">In</th>
          <th scope="col">Type</th>
          <th scope="col">Required</th>
        </tr>
      </thead>
      <tbody>
        {fields.map((field) => (
          <tr key={field.where + field.name}>
            <td>
              <code>{field.name}</code>
            </td>
            <td>{field.where}</td>
            <td>{field.type}</td>
            <td>{field.required ? "yes" : "no"}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Route({ route }: { route: DocumentedRoute }) {
  return (
    <details>
      <summary>
        <code>
          {route.method} {route.path}
        </code>{" "}
        <span class="muted">
          {route.summary}
          {route.adminOnly ? " · administrators only" : ""}
        </span>
      </summary>
      {route.description ? <p>{route.description}</p> : null}
      {route.fields.length ? <Fields fields={route.fields} /> : <p class="muted">No parameters.</p>}
    </details>
  );
}

export function ApiPage(props: { baseUrl: string; groups: { tag: string; routes: DocumentedRoute[] }[] }) {
  return (
    <Layout title="API">
      <div class="stack loose">
        <p>
          Base URL <code>{props.baseUrl}</code>, with an API key from <a href="/settings">Settings</a> as{" "}
          <code>Authorization: Bearer ftl-…</code>. OpenAI's clients work unchanged. For programs:{" "}
          <a href="/openapi.json">openapi.json</a>.
        </p>
        {props.groups.map((group) => (
          <section key={group.tag} class="stack">
            <h2>{group.tag}</h2>
            {group.routes.map((route) => (
              <Route key={route.method + route.path} route={route} />
            ))}
          </section>
        ))}
      </div>
    </Layout>
  );
}

/**
 * API reference on one page: every route by tag, with its parameters and an example in curl and Python, generated from
 * the request schemas.
 */
import { Layout } from "../../layout.tsx";
import { withCode } from "../../parts/code-spans.tsx";
import { Filters } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty } from "../../parts/notice.tsx";
import { Table } from "../../parts/table.tsx";
import { Snippet } from "../../parts/value.tsx";

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
  curl: string;
  python: string;
  fields: Field[];
}

interface ApiProps {
  baseUrl: string;
  groups: { tag: string; routes: DocumentedRoute[] }[];
}

function Fields({ fields, label, described }: { fields: Field[]; label: string; described: boolean }) {
  // The fields of an upload are not JSON; the description names them.
  if (fields.length === 0) return described ? null : <p class="small muted">No parameters.</p>;
  return (
    <Table
      still
      label={label}
      rows={fields}
      rowId={(field) => `${label}-${field.where}-${field.name}`.replace(/\W+/g, "-")}
      columns={[
        { key: "name", label: "Parameter", render: (field) => <code>{field.name}</code> },
        { key: "in", label: "In", wide: true, render: (field) => field.where },
        { key: "type", label: "Type", render: (field) => <span class="wrap-any">{field.type}</span> },
        { key: "required", label: "Required", render: (field) => (field.required ? "yes" : "no") },
      ]}
    />
  );
}

function Route({ route }: { route: DocumentedRoute }) {
  const name = `${route.method} ${route.path}`;
  return (
    <details class="more in-panel">
      <summary>
        <Icon name="right" />
        <span>
          <code>{name}</code> <span class="sans">{route.summary}</span>
          {route.adminOnly ? <span class="muted"> · administrators only</span> : null}
        </span>
      </summary>
      <div class="body route">
        {route.description ? <p class="small">{withCode(route.description)}</p> : null}
        <div class="examples">
          <div>
            <h4>curl</h4>
            <Snippet label={`${name} with curl`} text={route.curl} />
          </div>
          <div>
            <h4>Python</h4>
            <Snippet label={`${name} with Python`} text={route.python} />
          </div>
        </div>
        <Fields fields={route.fields} label={`Parameters of ${name}`} described={route.description !== null} />
      </div>
    </details>
  );
}

export function ApiGroups({ groups }: ApiProps) {
  return (
    <div id="api" class="stack">
      {groups.length === 0 ? (
        <div class="panel">
          <Empty icon="search" title="No matches">
            Try a path, a noun or a verb: files, list, POST.
          </Empty>
        </div>
      ) : null}
      {groups.map((group) => (
        <section class="panel" id={`tag-${group.tag.replace(/\W+/g, "-").toLowerCase()}`}>
          <header>
            <h2>{group.tag}</h2>
            <span class="small muted">{group.routes.length}</span>
          </header>
          {group.routes.map((route) => (
            <Route route={route} />
          ))}
        </section>
      ))}
    </div>
  );
}

export function ApiPage(props: ApiProps) {
  return (
    <Layout
      title="API"
      actions={
        <a class="button" href="/openapi.json">
          <Icon name="download" />
          openapi.json
        </a>
      }
    >
      <div class="stack">
        <p class="small">
          Create an API key in <a href="/settings">Settings</a>. Then OpenAI's clients work unchanged:
        </p>
        <Snippet
          label="Address and key"
          text={`export OPENAI_BASE_URL=${props.baseUrl}\nexport OPENAI_API_KEY=ftl-…`}
        />
        <Filters fragment="api" search={{ placeholder: "Filter routes: chat, list, /v1/files" }} />
        <ApiGroups {...props} />
      </div>
    </Layout>
  );
}

/** How to add a machine: the lines to run, filled in with its name and address. */
import type { ComponentChildren } from "preact";
import { Layout } from "../../layout.tsx";
import { TextField } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { Snippet } from "../../parts/value.tsx";

interface AddHostProps {
  name: string;
  /** `USER@HOST` */
  address: string;
  dataDir: string;
  /** The engines of the settings now. */
  hosts: string;
  providers: readonly string[];
  publicUrl: string | null;
}

function Step({ n, title, children }: { n: number; title: string; children: ComponentChildren }) {
  return (
    <section class="panel">
      <header>
        <h2>
          {n}. {title}
        </h2>
      </header>
      <div class="body stack tight">{children}</div>
    </section>
  );
}

/** `config.json` with the new machine beside the current ones. */
function configOf({ name, address, dataDir, hosts, providers }: AddHostProps): string {
  const all = providers.includes("docker") ? providers : ["docker", ...providers];
  const keys = `${dataDir}/keys/${name}`;
  const engines = `${hosts} ${name}=ssh://${address}?key=${keys}&known_hosts=${keys}.known_hosts`;
  return JSON.stringify({ providers: all, provider_settings: { docker: { hosts: engines } } }, null, 2);
}

export function AddHostPage(props: AddHostProps) {
  const { name, address, dataDir, publicUrl } = props;
  const keys = `${dataDir}/keys/${name}`;
  const host = address.split("@").at(-1);
  return (
    <Layout title="Add a machine" crumbs={[{ label: "Hosts", href: "/hosts" }]}>
      <div class="stack narrow-page">
        <form method="get" action="/hosts/add" class="inline-form">
          <TextField name="name" label="Name" value={name} maxlength={32} />
          <TextField name="address" label="User and address" value={address} maxlength={100} />
          <button type="submit" class="button">
            Fill in the lines
          </button>
        </form>
        {publicUrl ? null : (
          <Notice kind="warn" title="The setting public_url is not set">
            Trainers on another machine call this server at that address, over HTTPS. Set it first.
          </Notice>
        )}
        <Step n={1} title="On the new machine: Docker, and its GPUs">
          <p class="small">
            It needs Docker Engine 20.10 or newer. For NVIDIA GPUs it needs the driver and the NVIDIA Container Toolkit:
          </p>
          <Snippet
            label="Give containers access to the GPUs"
            text="sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"
          />
          <p class="small">The user that the server signs in as must be allowed to use Docker:</p>
          <Snippet
            label="Allow Docker"
            text={`sudo usermod -aG docker ${address.includes("@") ? address.split("@")[0] : "lab"}`}
          />
        </Step>
        <Step n={2} title="On the server: a key, and the identity of the machine">
          <Snippet
            label="Create a key and note the identity"
            text={`mkdir -p -m 700 ${dataDir}/keys\nssh-keygen -t ed25519 -N '' -f ${keys}\nssh-copy-id -i ${keys}.pub ${address}\nssh-keyscan ${host} > ${keys}.known_hosts`}
          />
          <p class="small">
            Compare the fingerprint with the one on the machine: <code>ssh-keygen -lf {keys}.known_hosts</code>
          </p>
        </Step>
        <Step n={3} title="In the settings of the server">
          <p class="small">
            In <code class="wrap-any">{dataDir}/config.json</code>, beside the settings that are there:
          </p>
          <Snippet label="Settings" text={configOf(props)} />
        </Step>
        <Step n={4} title="Restart the server and check">
          <Snippet
            label="Check"
            text={`finetune-lab doctor --data ${dataDir}\nfinetune-lab images list --data ${dataDir}`}
          />
          <p class="small">
            The machine is listed in <a href="/hosts">Hosts</a> within a minute. When its engine does not have the
            trainer image, build or load it with <code>finetune-lab images build</code> or <code>images load</code>.
          </p>
        </Step>
        <p class="small muted">
          To remove a machine, drain it, take it out of the setting, restart the server, then press Remove on its page.
          Rented machines and clusters are providers: see <a href="/admin/providers">Providers</a>.
        </p>
      </div>
    </Layout>
  );
}

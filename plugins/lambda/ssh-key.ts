/** The SSH key that Lambda asks for with every machine: one per installation, whose private half nobody keeps. */
import { generateKeyPairSync } from "node:crypto";
import type { OwnedWork, ProviderHost } from "../../src/contract/provider.ts";
import type { Api } from "./api.ts";
import type { Settings } from "./settings.ts";

interface SshKey {
  id: string;
  name: string;
}

/** The key of `handle.key` for the SSH key itself. */
const KEY = "ssh-key";

/** A public key in the form of `authorized_keys`; its private half is dropped, so that no one can sign in with it. */
function publicKey(comment: string): string {
  const jwk = generateKeyPairSync("ed25519").publicKey.export({ format: "jwk" });
  const parts = [Buffer.from("ssh-ed25519"), Buffer.from(String(jwk.x), "base64url")];
  const framed = parts.flatMap((part) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(part.length);
    return [length, part];
  });
  return `ssh-ed25519 ${Buffer.concat(framed).toString("base64")} ${comment}`;
}

export interface SshKeys {
  /** Name of the key for launches; created when it is missing. Throws `invalid` when the key of the settings is. */
  name(): Promise<string>;
  /** The installation's own key, as a resource that all launches share. */
  owned(installation: string): Promise<OwnedWork[]>;
  /** Deletes the key of a handle; false when the handle is another resource's. */
  remove(handle: { [field: string]: unknown }): Promise<boolean>;
}

export function createSshKeys(host: ProviderHost, settings: Settings, api: Api): SshKeys {
  let known: string | null = null;
  const nameOf = (installation: string) => `ftl-${installation}`.slice(0, 64);

  return {
    name() {
      return host.inTurn("lambda-ssh-key", async () => {
        if (known) return known;
        const wanted = settings.sshKey || nameOf(host.installation);
        const keys = await api.call<SshKey[]>("GET", "/ssh-keys");
        if (!keys.some(({ name }) => name === wanted)) {
          if (settings.sshKey)
            throw host.error("invalid", `Lambda has no SSH key with the name ${wanted}; see the setting ssh_key.`, {
              vendorCode: "ssh_key",
            });
          await api.call("POST", "/ssh-keys", { name: wanted, public_key: publicKey(wanted) });
        }
        known = wanted;
        return wanted;
      });
    },

    async owned(installation) {
      const keys = await api.call<SshKey[]>("GET", "/ssh-keys");
      return keys
        .filter(({ name }) => name === nameOf(installation))
        .map(({ id }) => ({
          resource: "key" as const,
          shared: true,
          handle: { provider: "lambda", key: KEY, sshKey: id },
          labels: {},
          state: "running" as const,
        }));
    },

    async remove({ sshKey }) {
      if (typeof sshKey !== "string") return false;
      known = null;
      await api.call<unknown>("DELETE", `/ssh-keys/${encodeURIComponent(sshKey)}`, undefined, {});
      return true;
    },
  };
}

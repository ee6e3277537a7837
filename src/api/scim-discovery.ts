/** What the SCIM API says about itself: its abilities, its resources and their attributes (RFC 7643, 5 to 7). */
import { GROUP, USER } from "../accounts/scim/model.ts";

const CORE = "urn:ietf:params:scim:schemas:core:2.0";

/** An attribute, with one text by default. */
const attribute = (name: string, description: string, more: Record<string, unknown> = {}) => ({
  name,
  type: "string",
  multiValued: false,
  description,
  required: false,
  caseExact: false,
  mutability: "readWrite",
  returned: "default",
  uniqueness: "none",
  ...more,
});

const reference = [
  attribute("value", "The id.", { mutability: "immutable" }),
  attribute("display", "The name.", { mutability: "readOnly" }),
];

export const SERVICE = {
  schemas: [`${CORE}:ServiceProviderConfig`],
  patch: { supported: true },
  bulk: { supported: false, maxOperations: 0, maxPayloadSize: 0 },
  filter: { supported: true, maxResults: 200 },
  changePassword: { supported: false },
  sort: { supported: false },
  etag: { supported: false },
  authenticationSchemes: [
    {
      type: "oauthbearertoken",
      name: "Bearer token",
      description: "The token that an administrator creates on the page of the identity provider.",
      primary: true,
    },
  ],
};

const resourceType = (name: "User" | "Group", schema: string) => ({
  schemas: [`${CORE}:ResourceType`],
  id: name,
  name,
  endpoint: `/${name}s`,
  schema,
});
export const RESOURCE_TYPES = [resourceType("User", USER), resourceType("Group", GROUP)];

export const SCHEMAS = [
  {
    schemas: [`${CORE}:Schema`],
    id: USER,
    name: "User",
    attributes: [
      attribute("userName", "What the provider calls the user.", { required: true, uniqueness: "server" }),
      attribute("externalId", "The id at the provider.", { caseExact: true }),
      attribute("displayName", "The name to show."),
      attribute("active", "False ends every access.", { type: "boolean" }),
      attribute("name", "The parts of the name.", {
        type: "complex",
        subAttributes: ["formatted", "givenName", "familyName"].map((each) => attribute(each, "A part of the name.")),
      }),
      attribute("emails", "The address of the account: the primary one, or that of work.", {
        type: "complex",
        multiValued: true,
        subAttributes: [
          attribute("value", "The address."),
          attribute("type", "Kind of address."),
          attribute("primary", "The one that counts.", { type: "boolean" }),
        ],
      }),
      attribute("groups", "Groups of the user.", {
        type: "complex",
        multiValued: true,
        mutability: "readOnly",
        subAttributes: reference,
      }),
    ],
  },
  {
    schemas: [`${CORE}:Schema`],
    id: GROUP,
    name: "Group",
    attributes: [
      attribute("displayName", "The name, as in the list of groups of the provider.", {
        required: true,
        uniqueness: "server",
        caseExact: true,
      }),
      attribute("externalId", "The id at the provider, which may be in that list as well.", { caseExact: true }),
      attribute("members", "Its users.", { type: "complex", multiValued: true, subAttributes: reference }),
    ],
  },
];

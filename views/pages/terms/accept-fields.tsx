/** The boxes that accept documents, and confirm the age: for the page of acceptance and for new accounts. */
import type { ComponentChildren } from "preact";

function Box({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <label class="check">
      <input type="checkbox" name={name} value="yes" required />
      <span>{children}</span>
    </label>
  );
}

/** Nothing without documents. */
export function AcceptFields(props: { documents: { label: string; href: string }[]; adultNeeded: boolean }) {
  const { documents, adultNeeded } = props;
  if (documents.length === 0) return null;
  return (
    <>
      <Box name="accept_terms">
        I accept{" "}
        {documents.map(({ label, href }, index) => (
          <>
            {index === 0 ? "" : index === documents.length - 1 ? " and " : ", "}
            <a href={href} target="_blank" rel="noopener">
              {label}
            </a>
          </>
        ))}
        .
      </Box>
      {adultNeeded ? <Box name="adult">I am 18 or older and have legal capacity.</Box> : null}
    </>
  );
}

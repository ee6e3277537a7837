/** Long lists of names, written as one text. */

/** The names in a text, which are separated by spaces and line breaks. */
export const words = (text: string): string[] => text.trim().split(/\s+/);

/** The version of the program. package.json carries the same; tidy compares them. */
export const VERSION = "0.1.0";

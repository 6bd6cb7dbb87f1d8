/** The longest wait a timer can take, in milliseconds. */
export const LONGEST = 2 ** 31 - 1

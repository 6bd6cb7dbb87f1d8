// Every text of the inbox, in English. A page replaces any of them (`element.texts`), and with them
// the language. `{count}` and the like stand for values; a text with plural forms is an object by
// the categories of Intl.PluralRules, and may name exact numbers.

/** @typedef {string | { other: string, [form: string]: string }} Text */

export const english = {
  title: 'Notifications',
  bell: { 0: 'Notifications', other: 'Notifications, {count} unread' },
  badge: '{count}',
  badgeOverflow: '{count}+',
  unreadCount: { 0: 'All read', other: '{count} unread' },
  markAll: 'Mark all read',
  markRead: 'Mark as read',
  markUnread: 'Mark as unread',
  unread: 'Unread',
  untitled: 'Notification',
  newTab: 'opens in a new tab',
  arrived: { one: 'New notification: {title}', other: '{count} new notifications' },
  newAbove: { other: '{count} new' },
  allMarked: 'All notifications are marked as read',
  moreLoaded: { one: '{count} more notification', other: '{count} more notifications' },
  loadMore: 'Show earlier',
  loading: 'Loading…',
  keys: 'Page Down and Page Up move between notifications.',
  emptyTitle: 'You’re all caught up',
  emptyText: 'New notifications appear here the moment they arrive.',
  errorTitle: 'Notifications can’t be loaded',
  errorText: 'The server can’t be reached right now. Please try again.',
  signedOutTitle: 'You’re signed out',
  signedOutText: 'Sign in again to see your notifications.',
  retry: 'Try again',
  offline: 'You’re offline. New notifications come once you’re back.',
  reconnecting: 'Connection lost. Reconnecting…',
  closed: 'Not connected. New notifications don’t arrive.',
  reconnected: 'Connected again',
  markFailed: 'That could not be saved, and was put back.',
  loadFailed: 'Earlier notifications can’t be loaded.',
  loss: 'You were away for long: some notifications are no longer kept.',
}

/** @typedef {{ [key in keyof typeof english]: Text }} Texts */

/** Texts in a language, with their values. */
export class Phrases {
  /** @type {Texts} */
  #texts
  #plural
  #number

  /**
   * @param {Partial<Texts> | null | undefined} replaced
   * @param {string} language
   */
  constructor(replaced, language) {
    this.#texts = { ...english, ...replaced }
    this.#plural = new Intl.PluralRules(language)
    this.#number = new Intl.NumberFormat(language)
  }

  /**
   * @param {keyof Texts} key
   * @param {{ count?: number, [name: string]: string | number | undefined }} [values]
   * @returns {string}
   */
  say(key, values = {}) {
    const text = this.#texts[key] ?? english[key]
    const count = values.count ?? 0
    const form =
      typeof text === 'string'
        ? text
        : (text[String(count)] ?? text[this.#plural.select(count)] ?? text.other)
    return String(form).replace(/\{(\w+)\}/g, (whole, name) => {
      const value = values[name]
      return typeof value === 'number' ? this.#number.format(value) : (value ?? whole)
    })
  }
}

/**
 * A language that Intl takes: the wish, or else the browser's.
 *
 * @param {string | null | undefined} wish
 */
export function language(wish) {
  try {
    const [known] = Intl.getCanonicalLocales(wish || navigator.language)
    if (known) return known
  } catch {
    // Not a language tag; a page may say anything in `lang`.
  }
  return 'en'
}

// What a page sees of its user's notifications.

/** @typedef {'connecting' | 'open' | 'waiting' | 'offline' | 'closed'} Connection */

/**
 * @typedef {object} View
 * @property {readonly import('./model.js').Notification[]} notifications
 * @property {number} unreadCount
 * @property {Connection} connection
 * @property {boolean} hasMore
 * @property {boolean} loading
 * @property {{ code: string, message: string } | null} error
 */

/** Before anything is known. @type {View} */
export const blank = Object.freeze({
  notifications: Object.freeze([]),
  unreadCount: 0,
  connection: 'connecting',
  hasMore: false,
  loading: true,
  error: null,
})

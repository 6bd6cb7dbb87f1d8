import js from '@eslint/js'

// Everything runs in a page or a worker: their globals, and no others.
const browser = [
  'AbortController',
  'AbortSignal',
  'BroadcastChannel',
  'CSSStyleSheet',
  'CustomEvent',
  'Event',
  'EventTarget',
  'HTMLElement',
  'Headers',
  'Intl',
  'MessageChannel',
  'Node',
  'ResizeObserver',
  'Response',
  'SharedWorker',
  'TextDecoder',
  'TextEncoder',
  'URL',
  'URLSearchParams',
  'addEventListener',
  'atob',
  'clearInterval',
  'clearTimeout',
  'console',
  'crypto',
  'customElements',
  'document',
  'fetch',
  'getComputedStyle',
  'history',
  'location',
  'navigator',
  'performance',
  'queueMicrotask',
  'removeEventListener',
  'requestAnimationFrame',
  'setInterval',
  'setTimeout',
  'structuredClone',
  'window',
]

export default [
  { ignores: ['types/', 'node_modules/'] },
  js.configs.recommended,
  {
    languageOptions: {
      ecmaVersion: 2022,
      globals: Object.fromEntries(browser.map((name) => [name, 'readonly'])),
    },
    rules: {
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'no-implied-eval': 'error',
      'no-unused-vars': ['error', { ignoreRestSiblings: true, varsIgnorePattern: '^_' }],
      'no-var': 'error',
      'prefer-const': 'error',
    },
  },
  {
    files: ['**/*.test.js'],
    languageOptions: {
      globals: {
        performance: 'readonly',
        ReadableStream: 'readonly',
        setImmediate: 'readonly',
      },
    },
  },
]

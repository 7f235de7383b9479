// SPDX-License-Identifier: Apache-2.0

// Command fraud watches the payments of cards: a step with state, time to live and a timer, and dead letters for what
// is not a payment. See its README.
package main

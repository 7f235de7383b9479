// SPDX-License-Identifier: Apache-2.0

// Package api is the HTTP server of a worker: who may come in, what is answered, and the document that says so.
//
// # Mental model
//
// A [Server] has routes. Each is registered once, by [Server.Handle], with the least role that may use it, and is
// described in openapi.yaml, which a test compares with the routes. A handler writes an answer or returns an error,
// which becomes a problem document (RFC 9457). Before a handler is called, the server has found out who the caller is.
//
//	request -> host -> route -> limits -> caller -> role -> handler -> answer, problem or stream
//
// Packages with routes of their own, and the worker, import this one and not the reverse.
//
// # Callers and roles
//
// A caller shows a token, or a client certificate. api.tokens-file says which role either has; only hashes of tokens are
// in it. A viewer reads what the API says of the application. An operator also looks up state, which is users' data, and
// asks for what can be undone: savepoints, pauses, drains. An admin may do everything. A peer is another worker of the
// application: it reads what a viewer reads, and uses the routes that are registered for peers.
//
// Where nobody has to show anything, on a loopback address without tokens, everybody is an admin. On another address,
// which needs the setting insecure then, everybody is a viewer.
//
// # Invariants
//
//   - I1: no handler but those of [Server.Open] runs before the caller is known and has the role of the route.
//   - I2: every request that is refused for want of a role, and every one that asks for a change, is a log line that says
//     who, what, from where, and with which outcome; none has a token, or a key or value of the user's data in it.
//   - I3: a file that is broken leaves in force what it said before.
//   - I4: whatever clients do, requests, streams, bodies and the events that are kept have limits.
//
// # Concurrency
//
// Routes are registered before the server serves. All else may be called from any goroutine. Handlers run at the same time.
package api

// SPDX-License-Identifier: Apache-2.0

// Package fleet runs worker processes for commands that kill them. A command runs itself again as its workers: it calls
// Start with an environment that says so, and its main calls Child where it finds that. Each worker has a log file of its
// own, tells its state over HTTP, and ends when its parent has ended in whatever way. Work finds the worker whose death
// disturbs the most, and Command is what such commands have in common.
package fleet

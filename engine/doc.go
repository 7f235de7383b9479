// SPDX-License-Identifier: Apache-2.0

// Package engine is the door to the runtime: [Main] turns a pipeline into a program, [Run] runs a worker of it inside
// another one.
//
// The parts lie below: worker (the loop of a process), core (the epoch protocol as a pure state machine), task (one
// task at work), kafka (clients and look-ups), config (settings), cli (commands), devbroker (an in-process broker).
package engine

// SPDX-License-Identifier: Apache-2.0

// Package wire puts the events of the NEXMark suite into topics of a Kafka cluster and takes committed results out of
// them. The client is the caller's, made with FeedOptions or ReadOptions; nothing here is of the engine.
package wire

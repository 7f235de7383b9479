// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"time"
)

// Event is a payment by card, or its owner's confirmation of those before.
type Event struct {
	Card    string    `json:"card"`
	Kind    string    `json:"kind"`
	Cents   int64     `json:"cents,omitzero"`
	Country string    `json:"country,omitzero"`
	At      time.Time `json:"at"`
}

// The kinds of events.
const (
	payment      = "payment"
	confirmation = "confirmation"
)

// Check refuses what cannot be an event.
func (e Event) Check() (Event, error) {
	switch {
	case e.Card == "":
		return e, errors.New("the event has no card")
	case e.Kind != payment && e.Kind != confirmation:
		return e, errors.New("the event is neither a payment nor a confirmation")
	case e.Kind == payment && e.Cents <= 0:
		return e, errors.New("the payment has no amount")
	}
	return e, nil
}

// Alert is what somebody should look at.
type Alert struct {
	Reason string `json:"reason"`
	Cents  int64  `json:"cents"`
}

// SPDX-License-Identifier: Apache-2.0

package main

import "time"

// Order is what a customer wants.
type Order struct {
	ID       string    `json:"id"`
	Customer string    `json:"customer"`
	Item     string    `json:"item"`
	Cents    int64     `json:"cents"`
	At       time.Time `json:"at"`
}

// Payment is what came for an order.
type Payment struct {
	Order string    `json:"order"`
	Cents int64     `json:"cents"`
	At    time.Time `json:"at"`
}

// Shipment is what goes to a customer for an order.
type Shipment struct {
	ID    string    `json:"id"`
	Order string    `json:"order"` // empty: none yet
	At    time.Time `json:"at"`
}

// Of is the order of a shipment; false: it has none yet.
func (s Shipment) Of() (order string, ok bool) { return s.Order, s.Order != "" }

// Settlement is what became of an order or a payment.
type Settlement struct {
	Status string `json:"status"`
	Owed   int64  `json:"owed"` // cents; below zero: to be paid back
}

// Settle compares an order with its payment. Either may be missing.
func Settle(o Order, ordered bool, p Payment, paid bool) Settlement {
	switch s := (Settlement{Owed: o.Cents - p.Cents}); {
	case !paid:
		s.Status = "not paid in time"
		return s
	case !ordered:
		s.Status = "paid late, or for nothing"
		return s
	case s.Owed != 0:
		s.Status = "paid another amount"
		return s
	default:
		s.Status = "paid"
		return s
	}
}

// Shipped is a shipment with what is in it.
type Shipped struct {
	Order    string `json:"order"`
	Customer string `json:"customer"`
	Item     string `json:"item"`
}

// NewShipped puts a shipment and its order together.
func NewShipped(_ Shipment, o Order) Shipped { return Shipped{o.ID, o.Customer, o.Item} }

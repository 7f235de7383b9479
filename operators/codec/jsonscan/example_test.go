// SPDX-License-Identifier: Apache-2.0

package jsonscan_test

import (
	"fmt"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/codec/jsonscan"
)

// A codec of two members of a larger object. It has the id of the codec that reads all of it, codec.JSON[Order], since
// both read each other's bytes.
func Example() {
	type order struct {
		customer string
		cents    int64
	}
	orders := codec.New("json:Order",
		func(dst []byte, v order) ([]byte, error) {
			dst, err := jsonscan.AppendString(append(dst, `{"customer":`...), v.customer)
			return fmt.Appendf(dst, `,"cents":%d}`, v.cents), err
		},
		func(src []byte) (v order, err error) {
			o := jsonscan.Scan(src)
			for o.Next() {
				switch string(o.Name()) {
				case "customer":
					v.customer = o.String()
				case "cents":
					v.cents = o.Int64()
				}
			}
			return v, o.Err()
		})

	v, err := orders.Decode([]byte(`{"customer":"ann","note":"thanks","cents":1250}`))
	fmt.Println(v.customer, v.cents, err)
	// Output: ann 1250 <nil>
}

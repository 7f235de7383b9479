// SPDX-License-Identifier: Apache-2.0

// Package jsonscan reads JSON objects member by member, for codecs of topics where the cost of decoding decides.
//
// # What for
//
// codec.JSON reads any type by reflection. A source that reads millions of small flat objects can be given a codec of
// its own instead (codec.New), whose decoder names the members that it wants and jumps over the others. That takes a
// fraction of the time, and allocates nothing but the strings that are asked for.
//
//	func decodeOrder(src []byte) (Order, error) {
//		var v Order
//		o := jsonscan.Scan(src)
//		for o.Next() {
//			switch string(o.Name()) {
//			case "customer":
//				v.Customer = o.String()
//			case "cents":
//				v.Cents = o.Int64()
//			}
//		}
//		return v, o.Err()
//	}
//
// # Invariants
//
// A decoder like the one above accepts and refuses what codec.JSON does, and reads the same from it:
//
//   - Members that are not asked for are ignored, but they must be valid JSON.
//   - Names match by case, after their escapes. Duplicate names, invalid UTF-8 and anything after the object are refused.
//   - null stands for the zero value, also in place of the object.
//   - An error says where and of what kind the trouble is, and quotes nothing of the input.
//
// Nested arrays and objects are no fast path: one of them makes the whole input be checked by encoding/json/jsontext
// once. Raw returns their bytes, for encoding/json/v2.
//
// # Concurrency
//
// An Object belongs to one goroutine. It is meant to live on the stack of a decode function.
package jsonscan

// SPDX-License-Identifier: Apache-2.0

package objstore_test

import (
	"testing"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/storetest"
)

func TestMemKeepsTheContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) func() objstore.Store {
		s := objstore.NewMem()
		return func() objstore.Store { return s }
	})
}

func TestRetryKeepsTheContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) func() objstore.Store {
		s := objstore.NewMem()
		return func() objstore.Store { return objstore.NewRetry(s, objstore.Policy{}) }
	})
}

func TestRetryGetsThroughTroubles(t *testing.T) {
	t.Parallel()
	storetest.RunTroubled(t, func(*testing.T) (objstore.Store, func(storetest.Trouble, int)) {
		return storetest.ThroughCalls(objstore.NewMem())
	})
}

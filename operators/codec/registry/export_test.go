// SPDX-License-Identifier: Apache-2.0

package registry

import "time"

// Hasty makes the pauses between attempts short, for a registry that is away.
func (r *Registry) Hasty() *Registry {
	r.pause = time.Millisecond
	return r
}

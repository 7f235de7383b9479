// SPDX-License-Identifier: Apache-2.0

package worker

// Status returns what the worker says of itself.
func (w *Worker) Status() *Status { return w.status }

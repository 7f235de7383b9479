// SPDX-License-Identifier: Apache-2.0

package kafkabroker

import "syscall"

// dieWithParent puts the broker into a process group of its own, so that Ctrl-C reaches only us and we stop it in
// order, and has the kernel kill it when we end without doing so.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

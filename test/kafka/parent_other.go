// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package kafkabroker

import "syscall"

// dieWithParent leaves the broker in our process group: without the parent-death signal of Linux a broker should at
// least receive Ctrl-C together with us.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

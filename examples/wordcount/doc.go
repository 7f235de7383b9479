// SPDX-License-Identifier: Apache-2.0

// Command wordcount counts the words of lines of text: the smallest pipeline with state. See its README.
package main

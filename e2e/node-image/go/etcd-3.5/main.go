// Command etcd is the stock server of the version that go.mod pins: its main function, and nothing of ours.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }

// The etcd server. Its own main package belongs to a module that replaces others, which Go does not build from outside.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }

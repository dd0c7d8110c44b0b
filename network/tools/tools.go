//go:build tools

// Package tools names the Fabric programs that zl-network build compiles. It is a module of its own because
// Fabric's dependencies are years older than ours and would not resolve beside them.
package tools

import (
	_ "github.com/hyperledger/fabric/cmd/configtxgen"
	_ "github.com/hyperledger/fabric/cmd/cryptogen"
	_ "github.com/hyperledger/fabric/cmd/orderer"
	_ "github.com/hyperledger/fabric/cmd/osnadmin"
	_ "github.com/hyperledger/fabric/cmd/peer"
)

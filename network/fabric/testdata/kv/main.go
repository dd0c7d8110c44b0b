// Command kv is a contract for tests of the network alone: put keeps a value, get returns it, version says which
// program answers. It is configured as Fabric's own samples are, by the environment.
package main

import (
	"fmt"
	"os"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
)

type kv struct{}

func (kv) Init(shim.ChaincodeStubInterface) *peer.Response { return shim.Success(nil) }

func (kv) Invoke(stub shim.ChaincodeStubInterface) *peer.Response {
	args := stub.GetArgs()
	switch {
	case len(args) == 3 && string(args[0]) == "put":
		if err := stub.PutState(string(args[1]), args[2]); err != nil {
			return shim.Error(err.Error())
		}
		return shim.Success(nil)
	case len(args) == 2 && string(args[0]) == "get":
		v, err := stub.GetState(string(args[1]))
		if err != nil {
			return shim.Error(err.Error())
		}
		return shim.Success(v)
	case len(args) == 1 && string(args[0]) == "id":
		return shim.Success([]byte(os.Getenv("CHAINCODE_ID")))
	}
	return &peer.Response{Status: 400, Message: "put KEY VALUE, get KEY or id"}
}

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve() error {
	var files [3][]byte
	for i, name := range []string{"CHAINCODE_TLS_KEY", "CHAINCODE_TLS_CERT", "CHAINCODE_CLIENT_CA_CERT"} {
		var err error
		if files[i], err = os.ReadFile(os.Getenv(name)); err != nil {
			return err
		}
	}
	s := &shim.ChaincodeServer{
		CCID: os.Getenv("CHAINCODE_ID"), Address: os.Getenv("CHAINCODE_SERVER_ADDRESS"), CC: kv{},
		TLSProps: shim.TLSProperties{Key: files[0], Cert: files[1], ClientCACerts: files[2]},
	}
	return s.Start()
}

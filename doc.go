// Package appsandbooks is a client for version 2 of Apple's App, Book, and
// Subscription Management API ("Apps and Books"): it says which licences belong
// to which users and devices, makes it so, tells when it is true, and tells
// exactly what is not.
package appsandbooks

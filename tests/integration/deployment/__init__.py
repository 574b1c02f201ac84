"""The functions that run inside a deployment, asked as CloudFormation asks them."""
